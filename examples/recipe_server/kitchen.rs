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

#[cfg(test)]
mod tests {
    use tower::ServiceExt;
    use tower_mqtt::{Request, Response};

    use super::*;

    async fn ask(topic: &str, payload: &'static str) -> Response {
        let router = router(Book::read().unwrap());
        router.oneshot(Request::new(topic, payload).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_list_has_the_names_of_the_dishes() {
        for payload in ["", "{}"] {
            let response = ask("recipes/soup/list", payload).await;
            assert!(response.status().is_success(), "{payload:?}: {}", response.status());
            let names: Vec<String> = response.json().unwrap();
            assert!(names.iter().any(|name| name == "miso soup"), "{names:?}");
        }
    }

    #[tokio::test]
    async fn an_unknown_category_is_not_found_and_the_known_ones_are_named() {
        for (topic, payload) in
            [("recipes/stone/list", ""), ("recipes/stone/get", r#"{"name":"miso soup"}"#)]
        {
            let response = ask(topic, payload).await;
            assert_eq!(response.status().code(), 404, "{topic}");
            let message = response.status().message().expect("a message");
            assert!(message.starts_with("no such category"), "{message}");
            assert!(message.contains("soup"), "{message}");
        }
    }

    #[tokio::test]
    async fn an_unknown_dish_is_not_found_and_the_list_is_named() {
        let response = ask("recipes/soup/get", r#"{"name":"stone soup"}"#).await;
        assert_eq!(response.status().code(), 404);
        let message = response.status().message().expect("a message");
        assert_eq!(message, "no such dish; recipes/soup/list names them");
    }

    #[tokio::test]
    async fn a_dish_of_the_list_is_found() {
        let response = ask("recipes/soup/get", r#"{"name":"miso soup"}"#).await;
        assert_eq!(response.json::<Recipe>().unwrap().name, "miso soup");
    }
}
