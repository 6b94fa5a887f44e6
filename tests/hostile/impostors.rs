//! Messages in the name of others, and those that are for others.

use std::net::SocketAddr;

use tower::ServiceExt;
use tower_mqtt::dialect::rrpc::aliyun;
use tower_mqtt::hub::{Access, HubBuilder, Identity};
use tower_mqtt::{Client, Hub, Request, Requester, Responder, Router};

use super::raw::{Properties, property};
use super::witness::{Steps, Witness};
use super::{client, soon, start};

/// The rules of the threat model: everybody is who he says, `kitchen` answers, `M7` asks.
fn with_rules() -> HubBuilder {
    let verified =
        async |credentials: tower_mqtt::hub::Credentials| Ok(Identity::new(credentials.client_id));
    Hub::builder().authenticate(verified).authorize(|_, client_id, access| match access {
        Access::Publish(topic) => match client_id {
            "kitchen" => topic.as_str().starts_with("clients/"),
            "M7" => topic.as_str().starts_with("echo/"),
            _ => false,
        },
        Access::Subscribe(filter) => {
            client_id == "kitchen" || filter.as_str() == format!("clients/{client_id}/responses")
        }
        _ => false,
    })
}

/// Answers with correlation data that may be that of a call: 16 bytes.
fn forged(number: usize) -> Properties {
    let guess = format!("{number:0>16}");
    Properties::none().text(property::CORRELATION_DATA, &guess)
}

/// Without rules everybody may publish there, and must guess 80 bits.
pub(super) async fn forger(address: SocketAddr, steps: Steps) {
    let mut forger = client(address, "forger").await;
    for number in 0.. {
        forger.publish(0x30, "clients/M7/responses", b"forged", &forged(number)).await;
        if number % 100 == 0 {
            forger.ping().await;
            forger.read().await;
        }
        steps.step();
    }
}

#[tokio::test]
async fn forged_answers_reach_no_call_and_are_counted() {
    let (_hub, address) = start(Hub::builder()).await;
    let witness = Witness::new(address).await;
    witness.works_during(200, 2000, |steps| forger(address, steps)).await;
    assert!(witness.requester.stats().unknown > 1000, "{:?}", witness.requester.stats());
}

#[tokio::test]
async fn with_rules_nobody_answers_asks_or_hears_in_the_place_of_another() {
    let (hub, address) = start(with_rules()).await;
    let witness = Witness::new(address).await;
    let attack = async |steps: Steps| {
        let mut impostor = client(address, "impostor").await;
        for number in 0.. {
            for topic in ["clients/M7/responses", "clients/M7/responses/1", "echo/soup", "t"] {
                assert_eq!(impostor.ask(topic, b"forged", &forged(number)).await, 0x87, "{topic}");
            }
            for filter in ["echo/soup", "#", "+/+", "$share/kitchen/echo/+", "clients/M7/responses"]
            {
                assert_eq!(impostor.subscribe(filter, 1).await, 0x87, "{filter}");
            }
            steps.step();
        }
    };
    witness.works_during(200, 20, attack).await;
    assert!(hub.stats().refused >= 20 * 9);
    assert_eq!(witness.requester.stats().unknown, 0, "nothing of it came");
}

/// Without rules, too.
#[tokio::test]
async fn nobody_hears_the_answers_to_another() {
    for workers in [1, 2] {
        let (_hub, address) = start(Hub::builder().workers(workers)).await;
        let witness = Witness::new(address).await;
        let mut listener = client(address, "listener").await;
        for private in
            ["clients/M7/responses", "clients/+/responses", "$share/g/clients/M7/responses/#"]
        {
            assert_eq!(listener.subscribe(private, 1).await, 0x87, "{private}");
        }
        for wide in ["#", "clients/#", "$share/g/#"] {
            assert_eq!(listener.subscribe(wide, 0).await, 0, "{wide}");
        }
        let heard = async |steps: Steps| {
            loop {
                // The requests, which without rules are for everybody.
                assert_eq!(listener.message().await.topic, "echo/soup");
                steps.step();
            }
        };
        witness.works_during(50, 50, heard).await;
    }
}

/// A device publishes the answers of another, under one id after the other.
#[tokio::test]
async fn with_rules_no_device_answers_the_calls_of_another() {
    let builder = Hub::builder().authorize(|_, client_id, access| match access {
        Access::Publish(topic) => {
            let own = format!("/sys/lamps/{client_id}/rrpc/response/");
            client_id == "server" || topic.as_str().starts_with(&own)
        }
        Access::Subscribe(filter) => {
            let own = format!("/sys/lamps/{client_id}/rrpc/request/+");
            client_id == "server" || filter.as_str() == own
        }
        _ => false,
    });
    let (hub, address) = start(builder).await;
    let link = async |client_id: &str| {
        let client = Client::builder(&format!("mqtt://{address}")).client_id(client_id);
        soon(client.connect()).await.expect("connected")
    };
    let lamp = Responder::builder(link("lamp1").await).dialect(aliyun::system());
    let lamp = lamp.serve(Router::new().route("lamps/lamp1", async |order: String| order)).await;
    let _lamp = lamp.expect("subscribed");
    let server = Requester::builder(link("server").await).dialect(aliyun::system());
    let server = server.build().await.expect("subscribed");
    let attack = async {
        let mut other = client(address, "lamp2").await;
        assert_eq!(other.subscribe("/sys/lamps/lamp1/rrpc/request/+", 0).await, 0x87);
        assert_eq!(other.subscribe("/sys/lamps/lamp2/rrpc/request/+", 0).await, 0);
        for id in 0_u64.. {
            let topic = format!("/sys/lamps/lamp1/rrpc/response/{id}");
            assert_eq!(other.ask(&topic, b"forged", &Properties::none()).await, 0x87);
        }
    };
    let calls = async {
        let mut number = 0;
        while number < 200 || hub.stats().refused <= 100 + 1 {
            let request = Request::new("lamps/lamp1", number.to_string()).expect("a topic");
            let response = soon(server.clone().oneshot(request)).await.expect("answered");
            assert_eq!(response.payload(), number.to_string().as_bytes());
            number += 1;
        }
    };
    tokio::select! {
        () = calls => {}
        () = attack => panic!("it does not end"),
    }
    // A hundred answers and more, and a subscription.
    assert!(hub.stats().refused > 100 + 1, "{:?}", hub.stats());
    assert_eq!(server.stats().unknown, 0, "nothing of it came");
}
