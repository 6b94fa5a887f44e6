//! Recipes for cooking machines: the embedded hub, a responder on it, and a machine that asks.
//!
//! ```text
//! cargo run --example recipe_server
//! cargo run --example recipe_server -- --listen 0.0.0.0:2883
//! cargo run --example recipe_server -- --broker mqtt://user:password@broker:1883
//! cargo run --example recipe_server --features tls,ws -- \
//!     --listen 127.0.0.1:1883 --listen unix:/run/recipes.sock \
//!     --listen mqtts://0.0.0.0:8883 --listen wss://0.0.0.0:8443 --cert server.pem --key server.key
//! ```
//!
//! | topic | payload | answer |
//! |---|---|---|
//! | `recipes/{category}/list` | nothing, or `{}` | the names of the dishes |
//! | `recipes/{category}/get` | `{"name": "miso soup"}` | the recipe |
//!
//! What is not in the book is answered with status 404. Ctrl-C stops the server.

mod book;
mod kitchen;
mod listen;
mod place;
mod recipe;
mod stop;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tower_mqtt::{Link, Requester, Responder};
use tracing_subscriber::EnvFilter;

use self::book::Book;
use self::listen::ListenArgs;
use self::place::Place;
use self::recipe::Recipe;

/// How long handlers and clients may take to finish after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);

/// Serves recipes to cooking machines over MQTT.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    listen: ListenArgs,
    /// Serve through this broker, without a hub
    #[arg(long, value_name = "mqtt://HOST:PORT")]
    broker: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let stop = stop::stop_signal()?;
    let book = Book::read()?;
    let place = match &args.broker {
        Some(broker) => Place::connect(broker).await?,
        None => Place::listen(args.listen.listeners()?).await?,
    };

    // With a share name, a second server on the same broker takes a part of the requests.
    let responder = Responder::builder(place.link().clone())
        .share("recipe-servers")
        .serve(kitchen::router(book.clone()))
        .await?;

    cook(place.link().clone()).await?;

    place.listening().for_each(|listening| println!("The hub listens on {listening}."));
    println!("{} recipes are served. Ask for one:\n", book.len());
    println!("  {}\n", place.command("soup", "miso soup"));
    println!("Ctrl-C stops.");
    let outcome = tokio::select! {
        () = stop => Ok(()),
        () = place.lost() => Err("the connection is closed for good".into()),
    };

    println!("Stopping.");
    responder.shutdown(GRACE).await;
    place.close(GRACE).await;
    outcome
}

/// A cooking machine in this process: it asks as any other would.
async fn cook(link: Link) -> Result<(), Box<dyn Error>> {
    let requester = Requester::builder(link).build().await?;
    for (category, dish) in [("soup", "gazpacho"), ("bread", "naan"), ("drink", "mango lassi")] {
        let recipe = Recipe::fetch(requester.clone(), category, dish).await;
        println!("{}", recipe.map_err(|error| format!("{category}/{dish}: {error}"))?);
    }
    Ok(())
}
