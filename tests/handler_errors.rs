//! Whoever writes a wrong handler is told what is wrong with it.

#[test]
fn wrong_handlers_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/handler_errors/*.rs");
}
