//! What is asked and what must be answered: both follow from the id of the call.

use std::time::Duration;

use bytes::Bytes;

use super::random::mix;

/// Most are short; a few come in several pieces, as they do not fit into a read buffer.
fn write(what: &str, id: u64) -> Bytes {
    let chance = mix(id ^ what.len() as u64);
    let most = if chance.is_multiple_of(40) { 70_000 } else { 100 };
    let mut text = format!("{what} {id} ").into_bytes();
    text.resize(
        text.len() + usize::try_from(mix(chance) % most).expect("small"),
        b'a' + (chance % 26) as u8,
    );
    text.into()
}

pub(crate) fn question(id: u64) -> Bytes {
    write("ask", id)
}

pub(crate) fn answer(id: u64) -> Bytes {
    write("answer", id)
}

/// The id in a question or an answer.
pub(crate) fn id_in(payload: &[u8]) -> Option<u64> {
    let id = payload.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// How long the handler works on it.
pub(crate) fn work(id: u64) -> Duration {
    let chance = mix(id.wrapping_mul(3));
    Duration::from_millis(match chance % 16 {
        0 => 400 + mix(chance) % 800,
        1..4 => mix(chance) % 60,
        _ => 0,
    })
}

/// One in `n` of all ids, others for each `salt`.
pub(crate) fn chosen(id: u64, salt: u64, n: u64) -> bool {
    mix(id ^ mix(salt)).is_multiple_of(n)
}
