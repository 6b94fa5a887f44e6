//! The book of recipes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::recipe::Recipe;

/// Recipes by category. A clone is the same book.
#[derive(Debug, Clone)]
pub(crate) struct Book(Arc<BTreeMap<String, Vec<Recipe>>>);

impl Book {
    /// Reads the book that is compiled in.
    pub(crate) fn read() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("recipes.json")).map(|book| Self(Arc::new(book)))
    }

    /// The names of the categories, in alphabetical order.
    pub(crate) fn categories(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The recipes of a category, as the book has them; `None`: there is no such category.
    pub(crate) fn category(&self, name: &str) -> Option<&[Recipe]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// How many recipes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_book_can_be_read_and_no_category_has_a_name_twice() {
        let book = Book::read().unwrap();
        assert!(book.len() >= 30 && book.categories().count() >= 3);
        for category in book.categories() {
            let recipes = book.category(category).unwrap();
            let names: HashSet<_> = recipes.iter().map(|recipe| &recipe.name).collect();
            assert_eq!(names.len(), recipes.len(), "{category}");
        }
    }
}
