//! Against servers that no broker is.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::core::topic::TopicFilter;
use crate::link::Transport;
use crate::link::ntex::connect::{buffers, connect};
use crate::link::ntex::options::Options;
use crate::link::ntex::tests::{client, next, run, to};

/// Accepts one client.
async fn serve(with: impl AsyncFnOnce(TcpStream) + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("mqtt://{}", listener.local_addr().expect("bound"));
    let server = tokio::task::spawn_local(async move {
        let (mut stream, _) = listener.accept().await.expect("the client");
        packet(&mut stream).await;
        stream.write_all(&[0x20, 3, 0, 0, 0]).await.expect("written");
        with(stream).await;
    });
    (address, server)
}

/// The next packet, without its fixed header.
async fn packet(stream: &mut TcpStream) -> Vec<u8> {
    stream.read_u8().await.expect("a packet");
    let length = stream.read_u8().await.expect("a length");
    assert!(length < 0x80, "one byte is enough for it");
    let mut body = vec![0; length.into()];
    stream.read_exact(&mut body).await.expect("a whole packet");
    body
}

#[test]
fn an_acknowledgement_of_another_kind_settles_nothing() {
    run(async {
        let (address, server) = serve(async |mut stream| {
            let publish = packet(&mut stream).await;
            let subscribe = packet(&mut stream).await;
            let ([high, low], [other_high, other_low]) =
                ([publish[3], publish[4]], [subscribe[0], subscribe[1]]);
            let acks = [
                &[0x90, 4, high, low, 0, 0][..],
                &[0xB0, 4, high, low, 0, 0],
                &[0x40, 2, other_high, other_low],
                &[0x40, 2, high, low],
                &[0x90, 4, other_high, other_low, 0, 0],
            ];
            stream.write_all(&acks.concat()).await.expect("written");
            let _ = stream.read_u8().await;
        })
        .await;
        let mut client = client(&address).await;
        client.publish(&to("t", ""), 7).expect("sent");
        let filter = TopicFilter::new("t").expect("valid");
        client.subscribe(&[Subscription::new(filter)], 8);
        assert!(matches!(next(&mut client).await, Event::Acknowledged(7, _)));
        assert!(matches!(next(&mut client).await, Event::Subscribed(8, _)));
        client.disconnect();
        drop(client);
        server.abort();
    });
}

#[test]
fn what_is_sent_again_has_its_packet_identifier_and_no_subscribe_takes_it() {
    run(async {
        let (address, server) = serve(async |mut stream| {
            let subscribe = packet(&mut stream).await;
            let publish = packet(&mut stream).await;
            assert_eq!((&subscribe[..2], &publish[3..5]), (&[0, 2][..], &[0, 1][..]));
        })
        .await;
        let options = Arc::new(Options::parse(&address).expect("valid"));
        let accepted = connect(options, buffers(), true).await.expect("accepted");
        // After 65,535 packets the next one would have the identifier of the first.
        let interrupted = BTreeMap::from([(7, NonZeroU16::MIN)]);
        let resumed = Resumed { interrupted, ..Resumed::default() };
        let mut session = Session::new(accepted, resumed);
        let filter = TopicFilter::new("t").expect("valid");
        session.subscribe(&[Subscription::new(filter)], 8);
        session.publish(&to("t", ""), 7).expect("sent");
        server.await.expect("no panic");
    });
}

#[test]
fn a_packet_that_takes_longer_than_the_keep_alive_is_a_sign_of_life() {
    run(async {
        let (address, server) = serve(async |mut stream| {
            // It is silent for longer than one and a half keep-alives but for the middle of a packet.
            for piece in [&[0x30, 8, 0][..], &[1, b't', 0, 1, 2, 3, 4]] {
                assert!(packet(&mut stream).await.is_empty(), "a PINGREQ");
                stream.write_all(piece).await.expect("written");
            }
            let _ = stream.read_u8().await;
        })
        .await;
        let mut client = client(&format!("{address}?keep_alive=1")).await;
        let event = next(&mut client).await;
        assert!(matches!(&event, Event::Message(message, None) if message.payload.len() == 4));
        server.abort();
    });
}

/// It is read on for a while, as it may be unable to write as well; not without end.
#[test]
fn a_server_that_reads_no_answers_is_not_read_without_end() {
    run(async {
        let (address, server) = serve(async |mut stream| {
            let flood = [0x32, 6, 0, 1, b't', 0, 1, 0].repeat(1000);
            while stream.write_all(&flood).await.is_ok() {}
        })
        .await;
        let mut client = client(&format!("{address}?keep_alive=1")).await;
        let mut filling = to("t", vec![0; 8 * 1024]);
        filling.qos = Qos::AtMostOnce;
        let mut taken = 0;
        // The keep-alive ends it: nothing is read any more, and nothing taken.
        loop {
            while client.is_writable() {
                client.publish(&filling, 0).expect("sent");
            }
            match next(&mut client).await {
                Event::Message(_, ack) => {
                    client.acknowledge(ack.expect("QoS 1"), ReasonCode::SUCCESS);
                }
                Event::Writable => {}
                Event::Disconnected => break,
                other => panic!("{other:?}"),
            }
            taken += 1;
            assert!(taken < 3 * MOST_UNACKNOWLEDGED, "{taken} answers have no bound");
        }
        assert!(taken > 0);
        server.abort();
    });
}
