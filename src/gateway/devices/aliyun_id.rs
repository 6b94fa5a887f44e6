//! The client identifiers of Aliyun's SDKs: <code>{id}|{name}={value},…|</code>.

/// An identifier that has parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AliyunId<'a> {
    pub(super) id: &'a str,
    parameters: &'a str,
}

impl<'a> AliyunId<'a> {
    /// `None`: it has no parameters, between the first `|` and one at its end.
    pub(super) fn parse(client_id: &'a str) -> Option<Self> {
        let (id, rest) = client_id.split_once('|')?;
        Some(Self { id, parameters: rest.strip_suffix('|')? })
    }

    /// The first parameter of this name.
    pub(super) fn get(self, name: &str) -> Option<&'a str> {
        let mut all = self.parameters.split(',').filter_map(|parameter| parameter.split_once('='));
        all.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether it says `ext=1`, or `ext=3`.
    pub(super) fn says_ext(self) -> bool {
        self.get("ext").and_then(|value| value.parse::<u64>().ok()).is_some_and(|ext| ext & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_between_the_first_bar_and_one_at_the_end() {
        let id = AliyunId::parse("pk&dn|a=1,b=x=y,a=2,c,d=|").unwrap();
        assert_eq!(id.id, "pk&dn");
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| id.get(name)),
            [Some("1"), Some("x=y"), None, Some("")]
        );
        for none in ["", "pk&dn", "pk&dn|a=1", "|", "a=1|b"] {
            assert_eq!(AliyunId::parse(none), None, "{none}");
        }
    }

    #[test]
    fn ext_is_what_the_parameters_say() {
        for (client_id, ext) in [
            ("pk&dn|securemode=3,signmethod=hmacsha1,ext=1,_ss=1|", true),
            ("pk&dn|ext=3,_ss=1|", true),
            ("|ext=1|", true),
            ("pk.dn|timestamp=1,ext=0|", false),
            ("pk.dn|ext=2|", false),
            ("pk.dn|ext=0,ext=1|", false),
            ("pk.dn|_ext=1|", false),
            ("pk.dn|ext=|", false),
            ("pk.dn|ext=-1|", false),
            ("pk.dn|ext=1", false),
            ("ext=1", false),
            ("a|b|ext=1|", false),
            ("", false),
        ] {
            assert_eq!(
                AliyunId::parse(client_id).is_some_and(AliyunId::says_ext),
                ext,
                "{client_id}"
            );
        }
    }
}
