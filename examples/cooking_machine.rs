//! A cooking machine: asks for several recipes at once and prints them.
//!
//! ```text
//! cargo run --example recipe_server &
//! cargo run --example cooking_machine -- --machine M7 soup/"miso soup" dessert/tiramisu
//! ```
//!
//! It has one response topic for each category, `machines/M7/recipes/{category}`. An answer finds its
//! question by correlation data, so several questions of one category may be in flight at once, and
//! the server never looks at where its answers go.

#[path = "recipe_server/recipe.rs"]
mod recipe;

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
use tower_mqtt::{Client, Link, Requester, TopicName};

use self::recipe::Recipe;

/// Asks a recipe server for recipes.
#[derive(Debug, Parser)]
struct Args {
    /// The broker or hub that the server is reached through
    #[arg(long, value_name = "mqtt://HOST:PORT", default_value = "mqtt://127.0.0.1:1883")]
    broker: String,
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
    let link = Client::builder(&args.broker).client_id(&*args.machine).connect().await?;
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
