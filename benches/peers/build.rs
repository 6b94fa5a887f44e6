//! Writes the stubs of the gRPC service, as protoc and tonic would from a proto file.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let echo = Method::builder()
        .name("echo")
        .route_name("Echo")
        .input_type("crate::Payload")
        .output_type("crate::Payload")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    Builder::new().compile(&[Service::builder()
        .name("Bench")
        .package("bench")
        .method(echo)
        .build()]);
}
