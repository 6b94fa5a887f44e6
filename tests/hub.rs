//! The embedded hub.

use std::time::Duration;

use tower::{Service, ServiceExt};
use tower_mqtt::responder::extract::Path;
use tower_mqtt::{Client, Hub, Request, RequestError, Requester, Responder, Router};

#[tokio::test]
async fn a_remote_requester_asks_a_responder_in_the_hub() {
    for workers in [1, 2] {
        let hub = Hub::builder().bind("127.0.0.1:0").workers(workers).start().await.unwrap();
        let router = Router::new()
            .route("greet/{name}", async |Path(name): Path<String>| format!("hi {name}"));
        let responder = Responder::builder(hub.link("kitchen")).serve(router).await.unwrap();
        let link = Client::connect(&format!("mqtt://{}", hub.local_addr().unwrap())).await.unwrap();
        let mut requester = Requester::builder(link).build().await.unwrap();
        for _ in 0..100 {
            let request = Request::new("greet/anna", "").unwrap();
            let response = requester.ready().await.unwrap().call(request).await;
            assert_eq!(response.unwrap().payload(), "hi anna");
        }
        let nobody = Request::new("nobody", "").unwrap();
        let error = requester.ready().await.unwrap().call(nobody).await.unwrap_err();
        assert_eq!(error, RequestError::NoResponder);
        assert_eq!(requester.stats().in_flight, 0);
        responder.shutdown(Duration::from_secs(1)).await;
        hub.shutdown(Duration::from_secs(1)).await;
    }
}
