//! The asking process: a closed loop of calls.

use bytes::Bytes;
use clap::Args;
use closed_loop::{Ask, Error, Laps, Load, ask_until_end, measure, measure_callers};
use tokio::task::JoinSet;
use tower::{Service, ServiceExt};
use tower_mqtt::core::packet::Qos;
use tower_mqtt::core::topic::TopicName;
use tower_mqtt::link::memory;
use tower_mqtt::{Client, Request, RequestError, Requester, Responder, Response};

use super::responder;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    load: Load,
    /// Ask a responder in this process, over a link in memory.
    #[arg(long)]
    memory: bool,
    /// Ask on the connection's thread.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    layers: super::Layers,
}

pub(crate) async fn ask(options: &Options) -> Result<(), Error> {
    let load = &options.load;
    let mut responder = None;
    let link = if options.memory {
        let (requester, answering) = memory::pair();
        let router = responder::router(options.layers);
        responder = Some(Responder::builder(answering).concurrency(4096).serve(router).await?);
        requester
    } else {
        Client::connect(&load.address).await?
    };
    let requester = Requester::builder(link).max_in_flight(load.in_flight).build().await?;
    if options.local {
        return ask_locally(load, &requester).await;
    }
    measure_with_layers(options, requester).await?;
    drop(responder);
    Ok(())
}

/// Every caller is a task of the connection's thread.
async fn ask_locally(load: &Load, requester: &Requester) -> Result<(), Error> {
    let callers = async |laps: Laps| {
        let mut callers = JoinSet::new();
        for _ in 0..load.in_flight {
            let (link, asker) = (requester.link().clone(), Asker::new(requester.clone(), load)?);
            let calls = ask_until_end(laps.clone(), asker);
            callers.spawn(async move { link.run_local(calls).await? });
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        Ok(())
    };
    measure_callers(load, callers).await
}

async fn measure_with_layers(options: &Options, requester: Requester) -> Result<(), Error> {
    let load = &options.load;
    #[cfg(all(feature = "auth", feature = "metrics"))]
    if options.layers.layers {
        return measure(load, Asker::new(super::stack::around(requester), load)?).await;
    }
    measure(load, Asker::new(requester, load)?).await
}

#[derive(Clone)]
struct Asker<S> {
    service: S,
    request: Request,
}

impl<S> Asker<S> {
    fn new(service: S, load: &Load) -> Result<Self, Error> {
        let payload = Bytes::from(vec![b'x'; load.payload]);
        let qos = if load.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let request = Request::to(TopicName::new("bench/echo")?, payload).qos(qos);
        Ok(Self { service, request })
    }
}

impl<S> Ask for Asker<S>
where
    S: Service<Request, Response = Response, Error = RequestError> + Clone + Send + 'static,
    S::Future: Send,
{
    async fn ask(&mut self) -> Result<usize, Error> {
        let request = self.request.clone();
        let response = self.service.ready().await?.call(request).await?;
        Ok(response.error_for_status()?.payload().len())
    }
}
