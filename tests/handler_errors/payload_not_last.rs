use tower_mqtt::Router;
use tower_mqtt::responder::extract::Path;

async fn get(_: String, _: Path<String>) {}

fn main() {
    let _: Router = Router::new().route("recipes/{category}/get", get);
}
