use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::super::config::{AccessKey, Device};
use super::super::{ConfiguredDevices, Found};
use super::*;
use crate::hub::{Protocol, Transport};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PSK: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const BAD: ReasonCode = ReasonCode::BAD_USER_NAME_OR_PASSWORD;

fn product(id: &str, dialect: Dialect, devices: &[(&str, &str)]) -> Product {
    let device = |(name, secret): &(&str, &str)| Device::new(*name, *secret);
    Product {
        id: id.to_owned(),
        dialect,
        timeout: None,
        one_in_flight: false,
        ext: false,
        devices: devices.iter().map(device).collect(),
    }
}

fn products() -> Vec<Product> {
    vec![
        product("a1testPK001", Dialect::Aliyun, &[("device1", SECRET), ("device2", "other")]),
        product("KL4J2TEST1", Dialect::Tencent, &[("airConditioner1", PSK), ("broken", "%")]),
        // Its id begins that of the other, and a device makes the rest.
        product("KL4J", Dialect::TencentExplorer, &[("2TEST1airConditioner1", "b3RoZXI=")]),
        product("lamps", Dialect::Native, &[("kitchen", "secret"), ("a+b", "x"), ("none", "")]),
    ]
}

fn admission_with(store: Arc<dyn DeviceStore>) -> Admission {
    let key = |id: &str, secret: Option<&str>| AccessKey {
        id: id.to_owned(),
        secret: secret.map(Into::into),
        bearer: Some("token".into()),
        products: None,
    };
    let keys = Keys::new(&[key("LTAI", Some("testsecret")), key("silent", None)]);
    Admission::new(Arc::new(Products::new(&products())), store, Arc::new(keys))
}

fn admission() -> Admission {
    admission_with(Arc::new(ConfiguredDevices::new(&products())))
}

fn show(client_id: &str, user: &str, password: &[u8]) -> Credentials {
    Credentials {
        client_id: client_id.into(),
        username: Some(user.to_owned()),
        password: Some(bytes::Bytes::copy_from_slice(password)),
        peer: None,
        protocol: Protocol::V311,
        transport: Transport::Tcp,
        certificate: None,
    }
}

async fn login(client_id: &str, user: &str, password: &str) -> Result<String, ReasonCode> {
    let shown = show(client_id, user, password.as_bytes());
    let identity = admission().authenticate(shown).await?;
    assert!(identity.is_verified());
    Ok(identity.as_str().to_owned())
}

const PYTHON: &str = "a1testPK001&device1|securemode=3,signmethod=hmacsha1,ext=1,_ss=1,lan=Python,_v=1.2.13,timestamp=1795508464|";
const USER: &str = "device1&a1testPK001";
const AIR: &str = "KL4J2TEST1airConditioner1";

/// Client identifier, user name, password. What the vendors' SDKs send, and what others make of their
/// rules.
const ALIYUN: [(&str, &str, &str); 7] = [
    (PYTHON, USER, "b41a8d11497aec51817694d9d2b3a8d695fabd19"),
    (
        "a1testPK001&device1|securemode=3,signmethod=hmacsha1,timestamp=1700000000|",
        USER,
        "d0eca613ca1c36b05ded17569a38f0c1e443b313",
    ),
    (
        "a1testPK001&device1|signmethod=hmacmd5,timestamp=1700000000|",
        USER,
        "36792f389f5c27d5bca1a4fc732f8e65",
    ),
    ("a1testPK001&device1|timestamp=1700000000|", USER, "36792f389f5c27d5bca1a4fc732f8e65"),
    (
        "a1testPK001&device1|timestamp=1700000000,signmethod=hmacsha256|",
        USER,
        "08c015d0f85cbb56483ae610677c334f34126f4e13d07d1a2874a2b35281ad34",
    ),
    (
        "a1testPK001.device1|timestamp=2524608000000,_ss=1,_v=sdk-c-3.0.1,securemode=3,signmethod=hmacsha256,lan=C|",
        USER,
        "B71D17454CF5993F8CE81AD3B4EF9A307A4917D5B39FB687910581B3B4163CF7",
    ),
    // Any id, no timestamp: clientIdmydeviceNamedevice1productKeya1testPK001.
    ("my|signmethod=hmacsha1|", USER, "5eeb2839907416d9c7cece1d12af741df6c11280"),
];

const TENCENT: [(&str, &str); 3] = [
    (
        "KL4J2TEST1airConditioner1;21010406;abcde;1700000000000",
        "085ceea3b9cf28680f12700a49d3c03bd4844d70;hmacsha1",
    ),
    (
        "KL4J2TEST1airConditioner1;12010126;abcde;1700003600",
        "412af9a58f15a636107acc03686a04a6142ef24d31ce53ce3d57d4853901fe59;hmacsha256",
    ),
    (
        "KL4J2TEST1airConditioner1;12010126;abcde;1700003600",
        "3e6e504414fa21b4ab3f7adc51d53b4646e5a2a9;hmacsha1",
    ),
];

#[tokio::test]
async fn aliyuns_devices_prove_who_they_are() {
    for (client_id, user, password) in ALIYUN {
        let admitted = login(client_id, user, password).await;
        assert_eq!(admitted.as_deref(), Ok("a1testPK001/device1"), "{client_id}");
        let other_case = if password.contains(|c: char| c.is_ascii_uppercase()) {
            password.to_lowercase()
        } else {
            password.to_uppercase()
        };
        assert!(login(client_id, user, &other_case).await.is_ok(), "{client_id}");
    }
}

#[tokio::test]
async fn tencents_devices_prove_who_they_are() {
    for (user, password) in TENCENT {
        let admitted = login(AIR, user, password).await;
        assert_eq!(admitted.as_deref(), Ok("KL4J2TEST1/airConditioner1"), "{user}");
    }
}

/// Who has not its secret does not learn that it is disabled.
#[tokio::test]
async fn a_disabled_device_is_not_let_in() {
    let mut products = products();
    for device in products.iter_mut().flat_map(|product| &mut product.devices) {
        device.disabled = true;
    }
    let store = Arc::new(ConfiguredDevices::new(&products));
    let admission = admission_with(store);
    for (client_id, user, password) in
        ALIYUN.into_iter().chain(TENCENT.map(|(user, password)| (AIR, user, password)))
    {
        let banned = admission.authenticate(show(client_id, user, password.as_bytes())).await;
        assert_eq!(banned, Err(ReasonCode::BANNED), "{client_id}");
        assert_eq!(admission.authenticate(show(client_id, user, b"x")).await, Err(BAD));
    }
}

/// One bit of anything that is signed, and of the signature.
#[tokio::test]
async fn one_bit_changed_is_refused() {
    let admission = admission();
    let aliyun = ALIYUN.map(|(client_id, user, password)| {
        // What is not signed may be changed: the id, and the timestamp.
        let id = client_id.find('|').unwrap();
        let time = client_id.find("timestamp=").map_or(id..id, |begin| {
            let digits = client_id[begin + 10..].find([',', '|']).unwrap();
            begin + 10..begin + 10 + digits
        });
        (client_id, user, password, (0..id).chain(time).collect::<Vec<_>>())
    });
    let tencent = TENCENT.map(|(user, password)| (AIR, user, password, (0..AIR.len()).collect()));
    for (client_id, user, password, signed) in aliyun.into_iter().chain(tencent) {
        let flipped = |text: &str, place: usize, bit: u8| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[place] ^= 1 << bit;
            bytes
        };
        for bit in 0..8 {
            for place in 0..password.len() {
                let changed = flipped(password, place, bit);
                if changed.eq_ignore_ascii_case(password.as_bytes()) {
                    continue;
                }
                let shown = show(client_id, user, &changed);
                assert_eq!(admission.authenticate(shown).await, Err(BAD), "{changed:?}");
            }
            for place in 0..user.len() {
                let Ok(changed) = String::from_utf8(flipped(user, place, bit)) else { continue };
                let shown = show(client_id, &changed, password.as_bytes());
                assert_eq!(admission.authenticate(shown).await, Err(BAD), "{changed}");
            }
            for place in signed.iter().copied() {
                let Ok(changed) = String::from_utf8(flipped(client_id, place, bit)) else {
                    continue;
                };
                let shown = show(&changed, user, password.as_bytes());
                assert_eq!(admission.authenticate(shown).await, Err(BAD), "{changed}");
            }
        }
    }
}

#[tokio::test]
async fn every_device_and_every_key_may_log_in_with_a_password() {
    for (client_id, user, password, admitted) in [
        ("x", "lamps/kitchen", "secret", Ok("lamps/kitchen")),
        ("x", "kitchen&lamps", "secret", Ok("lamps/kitchen")),
        ("x|ext=1|", "device1&a1testPK001", SECRET, Ok("a1testPK001/device1")),
        ("x", "a1testPK001/device1", SECRET, Ok("a1testPK001/device1")),
        ("x", "KL4J2TEST1/airConditioner1", PSK, Ok("KL4J2TEST1/airConditioner1")),
        ("x", "LTAI", "testsecret", Ok("key:LTAI")),
        ("x", "LTAI", "testsecre", Err(BAD)),
        ("x", "LTAI", "token", Err(BAD)),
        ("x", "silent", "", Err(BAD)),
        ("x", "silent", "token", Err(BAD)),
        ("x", "key:LTAI", "testsecret", Err(BAD)),
        ("x", "lamps/kitchen", "Secret", Err(BAD)),
        ("x", "lamps/kitchen", "secrets", Err(BAD)),
        ("x", "lamps/kitchen", "", Err(BAD)),
        ("x", "lamps/none", "", Err(BAD)),
        ("x", "lamps/bath", "secret", Err(BAD)),
        ("x", "kitchen/lamps", "secret", Err(BAD)),
        ("x", "lamps&kitchen", "secret", Err(BAD)),
        ("x", "lamps/kitchen/", "secret", Err(BAD)),
        ("x", "lamps/a+b", "x", Err(BAD)),
        ("x", "ovens/kitchen", "secret", Err(BAD)),
        ("x", "kitchen", "secret", Err(BAD)),
        ("x", "", "", Err(BAD)),
    ] {
        assert_eq!(login(client_id, user, password).await.as_deref(), admitted.as_ref().copied());
    }
    let nothing = Credentials { username: None, password: None, ..show("x", "", b"") };
    assert_eq!(admission().authenticate(nothing).await, Err(BAD));
    let no_password = Credentials { password: None, ..show("x", "lamps/none", b"") };
    assert_eq!(admission().authenticate(no_password).await, Err(BAD));
}

#[tokio::test]
async fn a_signature_is_of_the_dialect_of_its_product() {
    // Signed as Tencent's, with the secret of a native device, and as Aliyun's.
    for (client_id, user, password) in [
        (AIR, "KL4J2TEST1airConditioner1;99999999;abcde;1700000000000", TENCENT[0].1),
        (AIR, "KL4J2TEST1airConditioner1;21010406;abcde", TENCENT[0].1),
        (AIR, "KL4J2TEST1airConditioner1;21010406;abcde;soon", TENCENT[0].1),
        (AIR, TENCENT[0].0, "085ceea3b9cf28680f12700a49d3c03bd4844d70"),
        (AIR, TENCENT[0].0, "085ceea3b9cf28680f12700a49d3c03bd4844d70;hmacmd5"),
        (AIR, TENCENT[0].0, ";hmacsha1"),
        (AIR, TENCENT[0].0, ";"),
        (AIR, TENCENT[0].0, PSK),
        ("other", TENCENT[0].0, TENCENT[0].1),
        ("KL4J2TEST1", "KL4J2TEST1;21010406;abcde;1", TENCENT[0].1),
        ("KL4J2TEST1broken", "KL4J2TEST1broken;21010406;abcde;1", TENCENT[0].1),
        (&PYTHON[..PYTHON.len() - 1], USER, ALIYUN[0].2),
        ("a1testPK001&device1|signmethod=none,timestamp=1700000000|", USER, ALIYUN[1].2),
        ("a1testPK001&device1|signmethod=hmacsha256,timestamp=1700000000|", USER, ALIYUN[1].2),
        ("a1testPK001&device1", USER, ALIYUN[1].2),
        ("a1testPK001&device1||", USER, ""),
    ] {
        assert_eq!(login(client_id, user, password).await, Err(BAD), "{client_id} {user}");
    }
}

#[tokio::test]
async fn nobody_comes_under_a_client_identifier_that_another_device_uses() {
    let other = Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
    for (client_id, may) in [
        ("a1testPK001&device1", false),
        ("a1testPK001.device1|ext=1|", false),
        ("a1testPK001/device2", false),
        (AIR, false),
        ("lamps.kitchen", true),
        ("lampskitchen", true),
        ("a1testPK001&nobody", true),
        ("a1testPK001", true),
        ("nobody&device1", true),
        ("KL4J2TEST1nobody", true),
        ("my lamp", true),
        ("", true),
    ] {
        let admitted = login(client_id, "lamps/kitchen", "secret").await;
        let expected = if may { Ok("lamps/kitchen".to_owned()) } else { other.clone() };
        assert_eq!(admitted, expected, "{client_id}");
        let server = login(client_id, "LTAI", "testsecret").await;
        let is_of_a_device = !may || client_id == "lamps.kitchen";
        assert_eq!(server.is_ok(), !is_of_a_device, "{client_id}");
    }
}

/// Says that it is away, or that a device has moved.
#[derive(Default)]
struct Moody {
    away: AtomicBool,
}

impl DeviceStore for Moody {
    fn find<'a>(&'a self, _: &'a str, device: &'a str) -> Found<'a> {
        let away = self.away.load(Ordering::Relaxed);
        let found = Device::new(device, "secret");
        Box::pin(async move {
            tokio::task::yield_now().await;
            if away { Err(StoreUnavailable) } else { Ok(Some(found)) }
        })
    }
}

/// A server that comes back finds its own free.
#[tokio::test]
async fn nobody_comes_under_the_client_identifier_of_another_key() {
    for (client_id, may) in [("LTAI", false), ("LTAI/1", false), ("LTAI1", true), ("x/LTAI", true)]
    {
        let device = login(client_id, "lamps/kitchen", "secret").await;
        assert_eq!(device.is_ok(), may, "{client_id}");
        assert!(login(client_id, "LTAI", "testsecret").await.is_ok(), "{client_id}");
    }
    assert!(login("silent", "LTAI", "testsecret").await.is_err());
}

/// What one's names make together is what the SDK of the other makes.
#[tokio::test]
async fn nobody_comes_under_a_client_identifier_that_only_another_needs() {
    let products = [
        product("a", Dialect::Native, &[("bc", "secret"), ("b", "secret")]),
        product("ab", Dialect::Tencent, &[("c", PSK), ("c|d", PSK)]),
        product("x.y", Dialect::Native, &[("z", "secret")]),
        product("x", Dialect::Aliyun, &[("y.z", SECRET)]),
    ];
    let admission = Admission::new(
        Arc::new(Products::new(&products)),
        Arc::new(ConfiguredDevices::new(&products)),
        Arc::new(Keys::new(&[])),
    );
    for (client_id, user, password, may) in [
        ("abc", "a/bc", "secret", false),
        ("abc", "ab/c", PSK, true),
        ("abc|d", "a/b", "secret", false),
        ("abc|d", "ab/c|d", PSK, true),
        ("x.y.z", "x.y/z", "secret", false),
        ("x.y.z|ext=1|", "x/y.z", SECRET, true),
        ("x.y/z", "x.y/z", "secret", true),
        ("a&bc", "a/bc", "secret", true),
        ("a.bc|x|", "a/bc", "secret", true),
    ] {
        let admitted = admission.authenticate(show(client_id, user, password.as_bytes())).await;
        assert_eq!(admitted.is_ok(), may, "{client_id} {user}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_no_wrong_password() {
    let store = Arc::new(Moody::default());
    let admission = admission_with(Arc::clone(&store) as Arc<dyn DeviceStore>);
    let device = || show("x", "lamps/anything", b"secret");
    assert!(admission.authenticate(device()).await.is_ok());
    store.away.store(true, Ordering::Relaxed);
    let away = Err(ReasonCode::SERVER_UNAVAILABLE);
    assert_eq!(admission.authenticate(device()).await, away);
    assert_eq!(admission.authenticate(show(AIR, TENCENT[0].0, b"")).await, away);
    // It is not asked about a server, or about a product that there is not.
    assert!(admission.authenticate(show("x", "LTAI", b"testsecret")).await.is_ok());
    assert_eq!(admission.authenticate(show("x", "ovens/a", b"secret")).await, Err(BAD));
}

/// Knows the devices of the configuration, and which it was asked for.
struct Asked(ConfiguredDevices, std::sync::Mutex<Vec<String>>);

impl DeviceStore for Asked {
    fn find<'a>(&'a self, product: &'a str, device: &'a str) -> Found<'a> {
        self.1.lock().unwrap().push(format!("{product}/{device}"));
        self.0.find(product, device)
    }
}

#[tokio::test]
async fn the_store_is_asked_once_for_each_device_that_a_client_may_be() {
    let store = Arc::new(Asked(ConfiguredDevices::new(&products()), std::sync::Mutex::default()));
    let admission = admission_with(Arc::clone(&store) as Arc<dyn DeviceStore>);
    for (client_id, others) in [
        ("x", vec![]),
        ("a1testPK001&nobody", vec!["a1testPK001/nobody"]),
        ("KL4J2TEST1nobody", vec!["KL4J/2TEST1nobody", "KL4J2TEST1/nobody"]),
        ("a1testPK001&nobody|ext=1|", vec!["a1testPK001/nobody", "a1testPK001/nobody|ext=1|"]),
    ] {
        let shown = show(client_id, "lamps/kitchen", b"secret");
        assert!(admission.authenticate(shown).await.is_ok(), "{client_id}");
        let mut asked = std::mem::take(&mut *store.1.lock().unwrap());
        assert_eq!(asked.remove(0), "lamps/kitchen");
        asked.sort_unstable();
        assert_eq!(asked, others, "{client_id}");
    }
}

/// Nobody could call it.
#[tokio::test]
async fn a_device_whose_name_is_too_long_is_not_let_in() {
    let admission = admission_with(Arc::new(Moody::default()));
    for (length, admitted) in [(128, true), (129, false)] {
        let user = format!("lamps/{}", "x".repeat(length));
        let identity = admission.authenticate(show("x", &user, b"secret")).await;
        let expected = if admitted { Ok(user) } else { Err(BAD) };
        assert_eq!(identity.map(|identity| identity.as_str().to_owned()), expected);
    }
}

#[test]
fn no_secret_is_in_the_debug_text() {
    let text = format!("{:?}", ConfiguredDevices::new(&products()));
    assert!(text.contains("airConditioner1"), "{text}");
    for secret in [SECRET, PSK, "b3RoZXI="] {
        assert!(!text.contains(secret), "{text}");
    }
}

proptest! {
    #[test]
    fn no_login_makes_it_panic(
        client_id in r"(KL4J2TEST1|a1testPK001&)?[\PC|;,=&/.é]{0,30}\|?",
        user in r"(KL4J2TEST1|device1&|lamps/)?[\PC;&/]{0,30}(;21010406;a;1)?",
        password in proptest::collection::vec(any::<u8>(), 0..50),
        same in any::<bool>(),
    ) {
        let user = if same { format!("{client_id};21010406;a;1") } else { user };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(admission().authenticate(show(&client_id, &user, &password)));
        prop_assert!(outcome.is_err());
    }
}
