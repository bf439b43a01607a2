//! The page at `/` in a real browser.

use relevo_tests::browser::{Browser, Visitor};
use relevo_tests::server::Server;
use relevo_tests::token::token;
use relevo_tests::world::World;

/// Opens the page, types a token, and waits until it is connected.
fn connected(server: &Server, visitor: Visitor, user: &str, role: &str) -> Browser {
    let browser = Browser::start(visitor);
    browser.open(&format!("http://{}/", server.address));
    sign_in(&browser, &token(user, role));
    browser.wait("connected", "return document.querySelector('#state').dataset.state === 'connected'");
    browser
}

fn sign_in(browser: &Browser, token: &str) {
    browser.wait("the page", "return document.querySelector('#connect').textContent");
    browser.write("#token", token);
    browser.click("#connect");
}

#[test]
fn a_visitor_with_a_token_sees_a_task_s_change_arriving() {
    let world = World::new();
    let server = world.serve();
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    browser.wait("the board", "return document.querySelector('[data-channel=\"tasks:board\"] tr[data-key=\"1\"]')");
    world.sql("update tareas set estado = 'IN_PROGRESS' where id = 1");
    let row = browser.wait_text("#event-list li[data-type=task_status_changed]", "T-001");
    assert!(row.contains("scheduled · in progress"), "{row}");
    if let Some(folder) = std::env::var_os("RELEVO_TEST_PICTURES") {
        browser.screenshot(&std::path::Path::new(&folder).join("thin.png"));
    }
    println!("{:?}", browser.console());
}
