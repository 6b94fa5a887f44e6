//! One connection through the proxy.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;

use super::frames::{Frame, Frames};
use super::lane::{Chunks, Entry, Item, Lane, Settings};
use super::packet::{Aliases, Direction, Packet, Version, read_connect};
use super::random::Random;
use super::rule::Cut;
use super::state::Shared;

/// How much is read at once, at most.
const READ: usize = 16 * 1024;
/// How long a peer may take to end its side after [`Cut::Close`].
const FAREWELL: Duration = Duration::from_secs(1);
/// With a limit of bytes per second, something is written about so often in a second.
const PIECES_PER_SECOND: u32 = 100;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) number: u64,
    version: OnceLock<Version>,
    client_id: OnceLock<Arc<str>>,
    lanes: [Lane; 2],
    /// Peers that have ended their direction.
    ended: AtomicUsize,
    how: OnceLock<Cut>,
    cut: CancellationToken,
}

impl Conn {
    pub(super) fn new(number: u64, settings: [Settings; 2]) -> Self {
        Self {
            number,
            version: OnceLock::new(),
            client_id: OnceLock::new(),
            lanes: settings.map(Lane::new),
            ended: AtomicUsize::new(0),
            how: OnceLock::new(),
            cut: CancellationToken::new(),
        }
    }

    pub(super) fn client_id(&self) -> Option<&Arc<str>> {
        self.client_id.get().filter(|id| !id.is_empty())
    }

    pub(super) fn lane(&self, direction: Direction) -> &Lane {
        &self.lanes[direction.index()]
    }

    pub(super) fn release(&self, rule: Option<u64>) {
        for lane in &self.lanes {
            lane.release(rule);
        }
    }

    /// The first one decides how.
    pub(super) fn cut(&self, how: Cut) {
        let _ = self.how.set(how);
        self.cut.cancel();
    }

    fn end(&self, direction: Direction, reset: bool, random: Random) {
        self.lane(direction).push(Entry::End { reset }, Duration::ZERO, random);
        if self.ended.fetch_add(1, Ordering::AcqRel) == 1 {
            for lane in &self.lanes {
                lane.abandon();
            }
        }
    }
}

/// Until both sides have ended, or the connection is cut.
pub(super) async fn serve(
    shared: &Shared,
    conn: &Conn,
    mut client: TcpStream,
    mut server: TcpStream,
) -> Option<(TcpStream, TcpStream)> {
    {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let traffic = async {
            tokio::join!(
                read(shared, conn, Direction::ToServer, from_client),
                write(shared, conn, Direction::ToServer, to_server),
                read(shared, conn, Direction::ToClient, from_server),
                write(shared, conn, Direction::ToClient, to_client),
            )
        };
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => conn.cut(Cut::Reset),
            () = conn.cut.cancelled() => {}
            _ = traffic => {}
        }
    }
    match conn.how.get() {
        Some(Cut::Reset) => {
            reset(client);
            reset(server);
            None
        }
        Some(Cut::Close) => Some((client, server)),
        None => None,
    }
}

/// Closes with RST.
pub(super) fn reset(stream: TcpStream) {
    // Without it: a FIN, on systems that know no RST.
    let _ = stream.set_zero_linger();
    drop(stream);
}

/// Closes both with FIN. What was sent and nobody has read would make it an RST, so it is read.
pub(super) async fn close(mut client: TcpStream, mut server: TcpStream) {
    async fn drain(stream: &mut TcpStream) -> io::Result<()> {
        stream.shutdown().await?;
        let mut lost = [0; 1024];
        while stream.read(&mut lost).await? > 0 {}
        Ok(())
    }
    let both = async { tokio::join!(drain(&mut client), drain(&mut server)) };
    let _ = tokio::time::timeout(FAREWELL, both).await;
}

/// What was read so far in one direction.
struct Inbound {
    frames: Frames,
    aliases: Aliases,
    count: u64,
}

async fn read(shared: &Shared, conn: &Conn, direction: Direction, mut from: ReadHalf<'_>) {
    let frames = match direction {
        Direction::ToServer => Frames::from_client(),
        Direction::ToClient => Frames::from_server(),
    };
    let mut inbound = Inbound { frames, aliases: Aliases::default(), count: 0 };
    let lane = conn.lane(direction);
    let reset = loop {
        lane.room().await;
        match read_some(&mut from, &mut inbound.frames.buffer).await {
            Ok(0) => break false,
            Ok(_) => {}
            Err(_) => break true,
        }
        while let Some((packet, random)) = inbound.next(shared.seed, conn, direction) {
            shared.arrive(conn, packet, random);
        }
    };
    // Part of a packet passes as it is.
    inbound.frames.give_up();
    while let Some((packet, random)) = inbound.next(shared.seed, conn, direction) {
        shared.arrive(conn, packet, random);
    }
    let random = Random::new(shared.seed, conn.number, direction.index(), inbound.count);
    conn.end(direction, reset, random);
}

/// The buffer may have more space than it was asked for.
async fn read_some(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    buffer.reserve(READ);
    from.read_buf(&mut buffer.limit(READ)).await
}

impl Inbound {
    fn next(&mut self, seed: u64, conn: &Conn, direction: Direction) -> Option<(Packet, Random)> {
        // A server of MQTT never speaks first.
        if direction == Direction::ToClient && conn.version.get().is_none() {
            self.frames.give_up();
        }
        let (bytes, header) = match self.frames.next()? {
            Frame::Packet(bytes, header) => (bytes, Some(header)),
            Frame::Raw(bytes) => (bytes, None),
        };
        let mut packet = Packet::raw(conn.number, direction, bytes);
        if let Some(header) = header {
            if conn.version.get().is_none() && direction == Direction::ToServer {
                let body = packet.bytes.get(header..).unwrap_or_default();
                if let Some((version, client_id)) = read_connect(body) {
                    let _ = conn.version.set(version);
                    let _ = conn.client_id.set(client_id);
                }
            }
            match conn.version.get() {
                Some(version) => self.aliases.read(&mut packet, header, *version),
                // A version that nobody knows.
                None => self.frames.give_up(),
            }
        }
        packet.client_id = conn.client_id().cloned();
        let random = Random::new(seed, conn.number, direction.index(), self.count);
        self.count += 1;
        Some((packet, random))
    }
}

async fn write(shared: &Shared, conn: &Conn, direction: Direction, mut to: WriteHalf<'_>) {
    let lane = conn.lane(direction);
    loop {
        let entries = lane.next().await;
        let ended = entries.iter().find_map(|entry| match entry {
            Entry::End { reset } => Some(*reset),
            Entry::Packet(_) => None,
        });
        let items: Vec<Item> = entries.into_iter().filter_map(Entry::item).collect();
        if write_at_once(lane, &items, &mut to).await.is_err() {
            return lane.close();
        }
        for item in &items {
            shared.passed(&item.packet, item.random);
        }
        if let Some(how) = items.iter().find_map(|item| item.cut_after) {
            conn.cut(how);
        }
        match ended {
            Some(true) => return conn.cut(Cut::Reset),
            Some(false) => {
                let _ = to.shutdown().await;
                return lane.close();
            }
            None => {}
        }
    }
}

async fn write_at_once(
    lane: &Lane,
    items: &[Item],
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let joined;
    let mut rest: &[u8] = match items {
        [item] => &item.packet.bytes,
        items => {
            joined = items.iter().map(|item| &item.packet.bytes[..]).collect::<Vec<_>>().concat();
            &joined
        }
    };
    while !rest.is_empty() {
        let conditions = lane.settings().conditions;
        let mut size = match conditions.chunks {
            Chunks::Split(bytes) => bytes.max(1),
            Chunks::Packets | Chunks::Join { .. } => usize::MAX,
        };
        if let Some(rate) = conditions.bytes_per_second {
            let piece = rate.get().div_ceil(PIECES_PER_SECOND);
            size = size.min(usize::try_from(piece).unwrap_or(usize::MAX));
        }
        let (piece, following) = rest.split_at(size.min(rest.len()));
        to.write_all(piece).await?;
        rest = following;
        if let Some(rate) = conditions.bytes_per_second {
            let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            tokio::time::sleep(Duration::from_secs(1) * bytes / rate.get()).await;
        } else if !rest.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;
    use crate::test_util::lane::{Conditions, Stop};

    /// Keeps what each write brought.
    #[derive(Default)]
    struct Recorder(Vec<Vec<u8>>);

    impl AsyncWrite for Recorder {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn written(conditions: Conditions, items: &[&[u8]]) -> Vec<Vec<u8>> {
        let lane = Lane::new(Settings { conditions, stop: Stop::None });
        let random = Random::new(0, 1, 0, 0);
        let items = items.iter().map(|bytes| Bytes::copy_from_slice(bytes));
        let items = items.map(|bytes| Packet::raw(1, Direction::ToServer, bytes));
        let items: Vec<Item> =
            items.map(|packet| Item { packet, random, cut_after: None }).collect();
        let mut recorder = Recorder::default();
        write_at_once(&lane, &items, &mut recorder).await.expect("it never fails");
        recorder.0
    }

    #[tokio::test]
    async fn no_more_is_read_than_was_said_however_large_the_buffer_is() {
        let sent = vec![7; 2 * READ + 1];
        let mut from = &sent[..];
        let mut buffer = BytesMut::with_capacity(10 * READ);
        for read in [READ, READ, 1, 0] {
            assert_eq!(read_some(&mut from, &mut buffer).await.expect("in memory"), read);
        }
        assert_eq!(buffer, sent);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_split_and_joined() {
        let start = Instant::now();
        let chunks = |chunks| Conditions { chunks, ..Conditions::default() };
        let whole = written(chunks(Chunks::Packets), &[b"abcde"]).await;
        assert_eq!(whole, [b"abcde"]);
        assert_eq!(written(chunks(Chunks::Split(2)), &[b"abcde"]).await, [&b"ab"[..], b"cd", b"e"]);
        assert_eq!(written(chunks(Chunks::Split(0)), &[b"ab"]).await, [b"a", b"b"]);
        let join = Chunks::Join { bytes: 1, within: Duration::ZERO };
        assert_eq!(written(chunks(join), &[b"ab", b"c"]).await, [b"abc"]);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_bytes_take_so_long() {
        for (rate, bytes, pieces) in [(5, 10, 10), (1000, 500, 50)] {
            let start = Instant::now();
            let limit =
                Conditions { bytes_per_second: NonZeroU32::new(rate), ..Conditions::default() };
            assert_eq!(written(limit, &[&vec![0; bytes]]).await.len(), pieces);
            let expected = Duration::from_secs(1) * u32::try_from(bytes).expect("small") / rate;
            // A timer may be a millisecond late for each piece.
            let most = expected + Duration::from_millis(1) * u32::try_from(pieces).expect("small");
            assert!((expected..=most).contains(&start.elapsed()), "{:?}", start.elapsed());
        }
    }
}
