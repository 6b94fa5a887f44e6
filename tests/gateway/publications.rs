//! Aliyun's `Pub`: a server asks with it, and hears the answer over MQTT 5.

use super::devices::Kind;
use super::programs::soon;
use super::raw::{Connect, Properties, Raw, property};
use super::running::Running;
use super::servers::{KEY, aliyun_api};

#[tokio::test]
async fn a_publication_is_answered_where_its_server_hears() {
    let running = Running::with(&[(Kind::Plain, "lamp")]).await;
    let topics = format!("/{}/lamp/user", Kind::Plain.product());
    let (topic, answers) = (format!("{topics}/get"), format!("{topics}/answers"));
    let (client_id, user, password) = Kind::Plain.credentials("lamp");
    let connect = Connect::new(&client_id).credentials(&user, &password);
    let mut device = Raw::connect(running.hub(), &connect).await;
    assert_eq!(device.subscribe(&topic, 1).await, 1);
    let connect = Connect::new("shop").credentials(KEY.0, KEY.1);
    let mut server = Raw::connect(running.hub(), &connect).await;
    assert_eq!(server.subscribe(&answers, 1).await, 1);

    let query = [
        ("Action", "Pub"),
        ("ProductKey", Kind::Plain.product()),
        ("TopicFullName", &topic),
        ("Qos", "1"),
        ("ResponseTopic", &answers),
        ("CorrelationData", "aWQx"),
        ("UserProp.1.Key", "room"),
        ("UserProp.1.Value", "kitchen"),
        ("ContentType", "text/plain"),
    ];
    let form = [("MessageContent", "b24=")];
    let sent = aliyun_api(running.http, (KEY.0, KEY.1), &query, &form).await;
    assert_eq!((sent.status, &sent.json()["Success"]), (200, &true.into()), "{sent:?}");
    let id = sent.json()["MessageId"].as_str().map(str::parse::<u64>);
    assert!(id.is_some_and(|id| id.is_ok_and(|id| id > 0)), "{sent:?}");

    let asked = soon(device.message()).await;
    assert_eq!((&*asked.topic, &*asked.payload, asked.qos), (&*topic, &b"on"[..], 1));
    let text = |id| asked.properties.find_text(id);
    assert_eq!(text(property::RESPONSE_TOPIC).as_deref(), Some(&*answers));
    assert_eq!(text(property::CORRELATION_DATA).as_deref(), Some("id1"));
    assert_eq!(text(property::CONTENT_TYPE).as_deref(), Some("text/plain"));
    assert_eq!(asked.properties.user("room").as_deref(), Some("kitchen"));

    let properties = Properties::none().text(property::CORRELATION_DATA, "id1");
    let to = text(property::RESPONSE_TOPIC).expect("it was there");
    assert_eq!(device.ask(&to, b"ON", &properties).await, 0);
    let answer = soon(server.message()).await;
    assert_eq!((&*answer.topic, &*answer.payload), (&*answers, &b"ON"[..]));
    assert_eq!(answer.properties.find_text(property::CORRELATION_DATA).as_deref(), Some("id1"));

    let wrong = aliyun_api(running.http, (KEY.0, "another"), &query, &form).await;
    assert_eq!(wrong.json()["Code"], "SignatureDoesNotMatch");
    let form = [("MessageContent", "b2Zm")];
    let sent = aliyun_api(running.http, (KEY.0, KEY.1), &query, &form).await;
    assert_eq!(sent.json()["Success"], true, "{sent:?}");
    assert_eq!(soon(device.message()).await.payload, b"off", "and not what was refused");
    running.stop().await;
}
