//! Requester and responder over the in-memory link.

use tower::{Service, ServiceExt};
use tower_mqtt::link::memory;
use tower_mqtt::responder::extract::Path;
use tower_mqtt::{Request, Requester, Responder, Router};

#[tokio::test]
async fn a_question_is_answered() {
    let (a, b) = memory::pair();
    let router =
        Router::new().route("greet/{name}", async |Path(name): Path<String>| format!("hi {name}"));
    let responder = Responder::builder(b).serve(router).await.unwrap();
    let mut requester = Requester::builder(a).build().await.unwrap();
    let response =
        requester.ready().await.unwrap().call(Request::new("greet/anna", "").unwrap()).await;
    assert_eq!(response.unwrap().payload(), "hi anna");
    assert_eq!(requester.stats().in_flight, 0);
    responder.shutdown(std::time::Duration::from_secs(1)).await;
}
