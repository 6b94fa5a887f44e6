use tower_mqtt::Router;

struct Recipe;

async fn get() -> Recipe {
    Recipe
}

fn main() {
    let _: Router = Router::new().route("recipes/get", get);
}
