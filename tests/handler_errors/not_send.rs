use std::rc::Rc;

use tower_mqtt::Router;

async fn heat() {
    let oven = Rc::new(());
    std::future::ready(()).await;
    drop(oven);
}

fn main() {
    let _: Router = Router::new().route("heat", heat);
}
