//! Whoever writes a wrong handler is told what is wrong with it.

// trybuild builds every dependency once more. What is said is the same with all features, which have
// three times as many.
#![cfg(not(feature = "ntex"))]

#[test]
fn wrong_handlers_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/handler_errors/*.rs");
}
