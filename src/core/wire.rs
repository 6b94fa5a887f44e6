//! The packets of MQTT as bytes: what several parts read of them themselves.

/// What is read is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    /// The bytes end before it does.
    Unfinished,
    /// A length of more than four bytes [MQTT-1.5.5-1].
    Malformed,
}

/// The variable byte integer (MQTT 5 §1.5.5) that some bytes begin with, and how many of them it takes.
#[inline]
pub(crate) fn length(bytes: &[u8]) -> Result<(usize, usize), Short> {
    let mut value = 0;
    for place in 0..4 {
        let byte = bytes.get(place).ok_or(Short::Unfinished)?;
        value |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((value, place + 1));
        }
    }
    Err(Short::Malformed)
}

/// Writes a variable byte integer, of at most 28 bits.
#[cfg(feature = "ntex")]
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "seven bits are kept")]
pub(crate) fn put_length(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_length`] writes.
#[cfg(feature = "ntex")]
#[inline]
pub(crate) fn size_of_length(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Reads from the front of some bytes. What it cannot read stays.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Short::Unfinished)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Short> {
        let (byte, rest) = self.0.split_first().ok_or(Short::Unfinished)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// A two byte integer (MQTT 5 §1.5.2).
    #[inline]
    pub(crate) fn number(&mut self) -> Result<u16, Short> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Short::Unfinished)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*number))
    }

    /// A variable byte integer (MQTT 5 §1.5.5).
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, Short> {
        let (value, width) = length(self.0)?;
        self.take(width)?;
        Ok(value)
    }

    /// A string or binary data (MQTT 5 §1.5.4, §1.5.6), without the two bytes of its length.
    #[inline]
    pub(crate) fn data(&mut self) -> Result<&'a [u8], Short> {
        let mut rest = Self(self.0);
        let length = rest.number()?;
        let data = rest.take(length.into())?;
        *self = rest;
        Ok(data)
    }

    /// Properties (MQTT 5 §2.2.2), without their length.
    #[inline]
    pub(crate) fn properties(&mut self) -> Result<&'a [u8], Short> {
        let mut rest = Self(self.0);
        let length = rest.length()?;
        let properties = rest.take(length)?;
        *self = rest;
        Ok(properties)
    }
}

/// What is behind the fixed header of a PUBLISH (MQTT 5 §3.3).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) topic: &'a [u8],
    pub(crate) packet_id: Option<u16>,
    /// Empty before MQTT 5.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Reads a PUBLISH of MQTT 5 or an older version, of which this is the first byte and what follows
    /// Remaining Length. What it is too short for stays as it was.
    ///
    /// # Errors
    /// The header ends too early; the payload may be of any length.
    #[inline]
    pub(crate) fn read(&mut self, first: u8, body: &'a [u8], five: bool) -> Result<(), Short> {
        let mut rest = Reader(body);
        self.topic = rest.data()?;
        if first & 0b0110 != 0 {
            self.packet_id = Some(rest.number()?);
        }
        if five {
            self.properties = rest.properties()?;
        }
        self.payload = rest.0;
        Ok(())
    }
}

/// [Reads](Publish::read) a PUBLISH that is useless without its whole header.
#[cfg(feature = "ntex")]
#[inline]
pub(crate) fn publish(first: u8, body: &[u8], five: bool) -> Result<Publish<'_>, Short> {
    let mut publish = Publish::default();
    publish.read(first, body, five)?;
    Ok(publish)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_has_one_to_four_bytes() {
        // MQTT 5 table 1-1.
        let table: [(&[u8], usize); 8] = [
            (&[0], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xFF, 0xFF, 0x7F], 2_097_151),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ];
        for (bytes, value) in table {
            assert_eq!(length(bytes), Ok((value, bytes.len())));
            assert_eq!(length(&[bytes, &[0xFF; 4]].concat()), Ok((value, bytes.len())));
            for end in 0..bytes.len() {
                assert_eq!(length(&bytes[..end]), Err(Short::Unfinished));
            }
        }
        for end in 4..6 {
            assert_eq!(length(&[0xFF, 0xFF, 0xFF, 0xFF, 0][..end]), Err(Short::Malformed));
        }
    }

    #[test]
    fn what_is_not_there_is_left() {
        let mut reader = Reader(b"\0\x03ab");
        assert_eq!(reader.data(), Err(Short::Unfinished));
        assert_eq!(reader.take(5), Err(Short::Unfinished));
        assert_eq!((reader.number(), reader.take(1)), (Ok(3), Ok(&b"a"[..])));
        assert_eq!(reader.number(), Err(Short::Unfinished));
        assert_eq!(reader.properties(), Err(Short::Unfinished));
        assert_eq!((reader.byte(), reader.byte()), (Ok(b'b'), Err(Short::Unfinished)));
        let mut malformed = Reader(&[0xFF; 5]);
        assert_eq!(malformed.length(), Err(Short::Malformed));
        assert_eq!(malformed.properties(), Err(Short::Malformed));
        assert_eq!(malformed.0.len(), 5);
    }

    #[test]
    fn what_a_publish_is_too_short_for_stays_unknown() {
        const BODY: &[u8] = b"\0\x01t\0\x07\x02\x01\x01hi";
        let whole =
            Publish { topic: b"t", packet_id: Some(7), properties: b"\x01\x01", payload: b"hi" };
        for end in 0..=BODY.len() {
            let mut publish = Publish::default();
            let read = publish.read(0x32, &BODY[..end], true);
            let expected = Publish {
                topic: if end >= 3 { whole.topic } else { b"" },
                packet_id: whole.packet_id.filter(|_| end >= 5),
                properties: if end >= 8 { whole.properties } else { b"" },
                payload: &whole.payload[..end.saturating_sub(8)],
            };
            assert_eq!((read.is_ok(), publish), (end >= 8, expected));
        }
        let mut publish = Publish::default();
        let read = publish.read(0x30, b"\0\0\xFF\xFF\xFF\xFF\0", true);
        assert_eq!((read, publish), (Err(Short::Malformed), Publish::default()));
    }

    #[cfg(feature = "ntex")]
    proptest! {
        #[test]
        fn a_length_is_read_as_it_was_written(bits in 0..=28_u32, value in 0..1_usize << 28) {
            let value = value & ((1 << bits) - 1);
            let mut bytes = Vec::new();
            put_length(value, &mut bytes);
            prop_assert_eq!(size_of_length(value), bytes.len());
            prop_assert_eq!(length(&bytes), Ok((value, bytes.len())));
        }

        #[test]
        fn a_publish_has_what_was_put_into_it(
            topic in prop::collection::vec(any::<u8>(), 0..300),
            packet_id: Option<u16>,
            properties in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let length = u16::try_from(topic.len()).expect("at most 300");
            let mut body = [&length.to_be_bytes(), &topic[..]].concat();
            if let Some(packet_id) = packet_id {
                body.extend(packet_id.to_be_bytes());
            }
            if let Some(properties) = &properties {
                put_length(properties.len(), &mut body);
                body.extend(properties);
            }
            let header = body.len();
            body.extend(&payload);
            let (five, bytes) = (properties.is_some(), properties.unwrap_or_default());
            let expected =
                Publish { topic: &topic, packet_id, properties: &bytes, payload: &payload };
            let first = if packet_id.is_some() { 0x32 } else { 0x30 };
            prop_assert_eq!(publish(first, &body, five), Ok(expected));
            for end in 0..header {
                prop_assert_eq!(publish(first, &body[..end], five), Err(Short::Unfinished));
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read(
            first: u8,
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            five: bool,
        ) {
            let mut publish = Publish::default();
            let _ = publish.read(first, &bytes, five);
            prop_assert!(bytes.ends_with(publish.payload));
        }
    }
}
