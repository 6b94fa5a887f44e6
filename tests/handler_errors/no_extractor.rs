use tower_mqtt::Router;

struct Recipe;

async fn put(_: Recipe) {}

fn main() {
    let _: Router = Router::new().route("recipes/put", put);
}
