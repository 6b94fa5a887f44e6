//! The handlers: what is asked, and what is answered.

use serde::Deserialize;
use tower_mqtt::responder::extract::{Json, Path, State};
use tower_mqtt::{Router, Status};

use crate::book::Book;
use crate::recipe::{Query, Recipe};

/// Answers from this book.
pub(crate) fn router(book: Book) -> Router {
    Router::new()
        .route("recipes/{category}/list", list)
        .route("recipes/{category}/get", get)
        .with_state(book)
}

/// What may be asked of a list: nothing yet, `{}`.
#[derive(Debug, Deserialize)]
struct Everything {}

async fn list(
    Path(category): Path<String>,
    State(book): State<Book>,
    _: Option<Json<Everything>>,
) -> Result<Json<Vec<String>>, Status> {
    let recipes = find_category(&book, &category)?;
    Ok(Json(recipes.iter().map(|recipe| recipe.name.clone()).collect()))
}

async fn get(
    Path(category): Path<String>,
    State(book): State<Book>,
    Json(query): Json<Query>,
) -> Result<Json<Recipe>, Status> {
    let mut recipes = find_category(&book, &category)?.iter();
    let recipe = recipes.find(|recipe| recipe.name == query.name);
    recipe.cloned().map(Json).ok_or_else(|| {
        Status::NOT_FOUND.with_message(format!("no such dish; recipes/{category}/list names them"))
    })
}

fn find_category<'b>(book: &'b Book, name: &str) -> Result<&'b [Recipe], Status> {
    book.category(name).ok_or_else(|| {
        let known = book.categories().collect::<Vec<_>>().join(", ");
        Status::NOT_FOUND.with_message(format!("no such category; there are {known}"))
    })
}
