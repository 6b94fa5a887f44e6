//! What goes over the wire, and how a cooking machine asks for it.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};
use tower::{Service, ServiceExt};
use tower_mqtt::{Request, Requester};

/// The question of `recipes/{category}/get`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Query {
    /// The name of the dish.
    pub(crate) name: String,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    serves: u32,
    minutes: u32,
    ingredients: Vec<Ingredient>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ingredient {
    item: String,
    amount: serde_json::Number,
    unit: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Step {
    r#do: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    celsius: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minutes: Option<u32>,
    text: String,
}

impl Recipe {
    /// Asks for a recipe. An answer that is not a success is an error here, with the server's words.
    pub(crate) async fn fetch(
        mut requester: Requester,
        category: &str,
        name: &str,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let query = Query { name: name.to_owned() };
        let request = Request::json_from(format!("recipes/{category}/get"), &query)?;
        let response = requester.ready().await?.call(request).await?;
        Ok(response.error_for_status()?.json()?)
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, serves, minutes, .. } = self;
        writeln!(f, "{name} (serves {serves}, {minutes} min)")?;
        for Ingredient { item, amount, unit } in &self.ingredients {
            writeln!(f, "  {:>6} {unit:<6} {item}", amount.to_string())?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            let Step { r#do, text, .. } = step;
            write!(f, "  {}. {do}", number + 1)?;
            if let Some(celsius) = step.celsius {
                write!(f, " at {celsius} °C")?;
            }
            if let Some(minutes) = step.minutes {
                write!(f, ", {minutes} min")?;
            }
            writeln!(f, ": {text}")?;
        }
        Ok(())
    }
}
