//! Who is measured, over which path.

/// One way to ask and answer.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) path: Path,
    pub(crate) qos: u8,
    /// More arguments of the requester.
    pub(crate) ask: &'static [&'static str],
    /// More arguments of the responder.
    pub(crate) respond: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Ours,
    /// A program of `benches/peers`.
    Peer(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Requester and responder are one process.
    InProcess,
    /// The requester connects to the responder's process.
    Direct,
    Mosquitto(Nagle),
    NatsServer,
}

/// Whether mosquitto waits for acknowledgements before it sends a small packet: it does so as
/// installed, and not with `set_tcp_nodelay true`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nagle {
    AsInstalled,
    Off,
}

impl Candidate {
    /// Threads of the requester and of the responder: ours have one for the tasks and one for the
    /// connection.
    pub(crate) fn threads(&self) -> &'static str {
        match (self.program, self.path) {
            (Program::Ours, Path::InProcess) => "1 for both",
            (Program::Ours, _) => "1+1, 1+1",
            (Program::Peer("bare-ntex-mqtt"), Path::Direct) => "1, 1+1",
            (Program::Peer(_), _) => "1, 1",
        }
    }
}

const TUNED: Path = Path::Mosquitto(Nagle::Off);
const AS_INSTALLED: Path = Path::Mosquitto(Nagle::AsInstalled);
const LAYERS: &[&str] = &["--layers"];
#[cfg(feature = "tls")]
const TLS: &[&str] = &["--tls"];
const SPANS: &[&str] = &["--layers", "--spans"];
const NONE: &[&str] = &[];

/// All of them, path by path.
pub(crate) fn all() -> Vec<Candidate> {
    let ours = |name, path, qos| Candidate {
        name,
        program: Program::Ours,
        path,
        qos,
        ask: NONE,
        respond: NONE,
    };
    let peer = |name, program, path, qos| Candidate {
        program: Program::Peer(program),
        ..ours(name, path, qos)
    };
    let bare = |name, path, qos| peer(name, "bare-ntex-mqtt", path, qos);
    let with = |options, candidate| Candidate { ask: options, respond: options, ..candidate };
    let inline = |candidate| Candidate { respond: &["--inline"], ..candidate };
    let memory = |options, candidate| Candidate { ask: options, ..candidate };
    vec![
        memory(&["--memory"], ours("tower-mqtt, memory", Path::InProcess, 0)),
        ours("tower-mqtt, hub, QoS 0", Path::Direct, 0),
        inline(ours("tower-mqtt, hub, QoS 0, inline", Path::Direct, 0)),
        Candidate {
            ask: &["--local"],
            ..inline(ours("tower-mqtt, hub, QoS 0, inline and local", Path::Direct, 0))
        },
        #[cfg(feature = "tls")]
        Candidate { respond: TLS, ..ours("tower-mqtt, hub over TLS, QoS 0", Path::Direct, 0) },
        with(LAYERS, ours("tower-mqtt, hub, QoS 0, layers", Path::Direct, 0)),
        with(SPANS, ours("tower-mqtt, hub, QoS 0, layers, spans", Path::Direct, 0)),
        bare("bare ntex-mqtt, direct, QoS 0", Path::Direct, 0),
        peer("tonic", "tonic", Path::Direct, 0),
        peer("tarpc", "tarpc", Path::Direct, 0),
        peer("async-nats", "async-nats", Path::NatsServer, 0),
        ours("tower-mqtt, hub, QoS 1", Path::Direct, 1),
        bare("bare ntex-mqtt, direct, QoS 1", Path::Direct, 1),
        ours("tower-mqtt, mosquitto, QoS 0", TUNED, 0),
        bare("bare ntex-mqtt, mosquitto, QoS 0", TUNED, 0),
        ours("tower-mqtt, mosquitto, QoS 1", TUNED, 1),
        with(LAYERS, ours("tower-mqtt, mosquitto, QoS 1, layers", TUNED, 1)),
        bare("bare ntex-mqtt, mosquitto, QoS 1", TUNED, 1),
        peer("rumqttc, mosquitto, QoS 1", "rumqttc", TUNED, 1),
        peer("azure_iot_operations, mosquitto, QoS 1", "azure-iot-operations", TUNED, 1),
        ours("tower-mqtt, mosquitto as installed, QoS 1", AS_INSTALLED, 1),
        bare("bare ntex-mqtt, mosquitto as installed, QoS 1", AS_INSTALLED, 1),
    ]
}
