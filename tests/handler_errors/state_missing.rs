use tower::Service;
use tower_mqtt::responder::extract::State;
use tower_mqtt::{Request, Router};

#[derive(Clone)]
struct Book;

async fn get(_: State<Book>) {}

fn call(_: impl Service<Request>) {}

fn main() {
    call(Router::new().route("recipes/get", get));
}
