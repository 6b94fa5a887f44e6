//! A cooking machine: asks for several recipes at once and prints them.
//!
//! ```text
//! cargo run --example recipe_server &
//! cargo run --example cooking_machine -- --machine M7 soup/"miso soup" dessert/tiramisu
//! ```
//!
//! The broker may be one with TLS or WebSocket: `--features tls,ws`, and for instance
//! `--broker mqtts://broker.local --ca ca.pem`.
//!
//! It has one response topic for each category, `machines/M7/recipes/{category}`. An answer finds its
//! question by correlation data, so several questions of one category may be in flight at once, and
//! the server never looks at where its answers go.

#[path = "recipe_server/recipe.rs"]
mod recipe;

use std::collections::HashMap;
use std::error::Error;
#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
#[cfg(feature = "tls")]
use tower_mqtt::tls::ClientTls;
use tower_mqtt::{Client, ConnectError, Link, Requester, TopicName};

use self::recipe::Recipe;

/// Asks a recipe server for recipes.
#[derive(Debug, Parser)]
struct Args {
    /// The broker or hub that the server is reached through
    ///
    /// One of `mqtt://HOST`, `mqtts://HOST`, `ws://HOST`, `wss://HOST` and `unix:/PATH`
    #[arg(long, value_name = "mqtt://HOST:PORT", default_value = "mqtt://127.0.0.1:1883")]
    broker: String,
    /// With mqtts:// and wss://, trust the authorities in this PEM file instead of the system's
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name of this machine
    #[arg(long, default_value = "M7")]
    machine: String,
    /// What to cook, for instance soup/"miso soup"
    #[arg(required = true, value_name = "CATEGORY/DISH")]
    dishes: Vec<Dish>,
}

#[derive(Debug, Clone)]
struct Dish {
    category: String,
    name: String,
}

impl FromStr for Dish {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((category, name)) if !category.is_empty() && !name.is_empty() => {
                Ok(Self { category: category.to_owned(), name: name.to_owned() })
            }
            _ => Err("write CATEGORY/DISH"),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all of the recipes came.
async fn run(args: Args) -> Result<bool, Box<dyn Error>> {
    let link = connect(&args).await?;
    let requesters = requesters(&link, &args.machine, &args.dishes).await?;

    // All are asked before the first answer is awaited.
    let mut calls = Vec::new();
    for Dish { category, name } in args.dishes {
        let requester = requesters[&category].clone();
        calls.push(tokio::spawn(async move {
            let recipe = Recipe::fetch(requester, &category, &name).await;
            recipe.map_err(|error| format!("{category}/{name}: {error}"))
        }));
    }
    let mut complete = true;
    for call in calls {
        match call.await? {
            Ok(recipe) => println!("{recipe}"),
            Err(error) => {
                eprintln!("error: {error}");
                complete = false;
            }
        }
    }
    Ok(complete)
}

async fn connect(args: &Args) -> Result<Link, ConnectError> {
    let client = Client::builder(&args.broker).client_id(&*args.machine);
    #[cfg(feature = "tls")]
    let client = match &args.ca {
        Some(ca) => client.tls(ClientTls::new().ca_file(ca)),
        None => client,
    };
    client.connect().await
}

/// One requester for each category, all on one connection.
async fn requesters(
    link: &Link,
    machine: &str,
    dishes: &[Dish],
) -> Result<HashMap<String, Requester>, Box<dyn Error>> {
    let mut requesters = HashMap::new();
    for Dish { category, .. } in dishes {
        if !requesters.contains_key(category) {
            let topic = TopicName::new(format!("machines/{machine}/recipes/{category}"))?;
            let requester = Requester::builder(link.clone()).response_topic(topic).build().await?;
            requesters.insert(category.clone(), requester);
        }
    }
    Ok(requesters)
}
