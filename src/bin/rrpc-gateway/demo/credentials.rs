//! How the vendors' devices say who they are.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Tencent's own, as its SDK for Java has it.
const APP_ID: &str = "12010126";

/// The SDK has this when it reconnects by itself: the last second of 32 bits.
const EXPIRY: u32 = 2_147_483_647;

/// What is in CONNECT.
pub(super) struct Credentials {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) password: String,
}

impl Credentials {
    /// `psk` is base64.
    pub(super) fn tencent((product, device): (&str, &str), psk: &str) -> Result<Self, String> {
        let client_id = format!("{product}{device}");
        let user = format!("{client_id};{APP_ID};abcde;{EXPIRY}");
        let psk = BASE64_STANDARD.decode(psk).map_err(|_| "the PSK is not base64".to_owned())?;
        let password = format!("{};hmacsha256", sign(&psk, &user));
        Ok(Self { client_id, user, password })
    }

    pub(super) fn aliyun((product, device): (&str, &str), secret: &str) -> Self {
        let id = format!("{product}&{device}");
        let content = format!("clientId{id}deviceName{device}productKey{product}");
        Self {
            client_id: format!("{id}|securemode=3,signmethod=hmacsha256,ext=1|"),
            user: format!("{device}&{product}"),
            password: sign(secret.as_bytes(), &content),
        }
    }
}

/// HMAC-SHA256, in hex.
fn sign(key: &[u8], content: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("it takes a key of any length");
    mac.update(content.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_vendors_do() {
        let psk = BASE64_STANDARD.decode("MDEyMzQ1Njc4OWFiY2RlZg==").unwrap();
        assert_eq!(
            sign(&psk, "KL4J2TEST1airConditioner1;12010126;abcde;1700003600"),
            "412af9a58f15a636107acc03686a04a6142ef24d31ce53ce3d57d4853901fe59"
        );
        let content = "clientIda1testPK001&device1deviceNamedevice1productKeya1testPK001\
                       timestamp1700000000";
        assert_eq!(
            sign(b"0123456789abcdef0123456789abcdef", content),
            "08c015d0f85cbb56483ae610677c334f34126f4e13d07d1a2874a2b35281ad34"
        );
    }

    #[test]
    fn says_who_it_is_in_the_vendors_form() {
        let device = ("KL4J2TEST1", "airConditioner1");
        let tencent = Credentials::tencent(device, "MDEyMzQ1Njc4OWFiY2RlZg==").unwrap();
        assert_eq!(tencent.client_id, "KL4J2TEST1airConditioner1");
        assert_eq!(tencent.user, "KL4J2TEST1airConditioner1;12010126;abcde;2147483647");
        assert!(tencent.password.ends_with(";hmacsha256"));
        assert!(Credentials::tencent(device, "?").is_err());

        let aliyun = Credentials::aliyun(("a1testPK001", "device1"), "secret");
        assert_eq!(
            aliyun.client_id,
            "a1testPK001&device1|securemode=3,signmethod=hmacsha256,ext=1|"
        );
        assert_eq!(aliyun.user, "device1&a1testPK001");
    }
}
