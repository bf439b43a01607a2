//! A newcomer's way to a plugin: `relevo plugin new`, `cargo test`, `relevo plugin build`, `check`, `deploy`,
//! and its first message.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use relevo_tests::client::{Client, Connect};
use relevo_tests::server::{Process, Server};
use relevo_tests::wait::SOON;
use relevo_tests::world::World;
use relevo_tests::{binary, cli};

/// A command without what cargo told this test about itself.
fn command(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") || text.starts_with("RELEVO_") {
            command.env_remove(&name);
        }
    }
    command
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs it to a good end.
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

/// What it says when it refuses.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {}", text(&output));
    text(&output)
}

#[test]
fn a_new_project_of_each_role_passes_its_test_is_built_and_passes_check() {
    let folder = tempfile::tempdir().unwrap();
    // What was compiled for the other plugins need not be compiled again.
    let target = binary::target_folder();
    for role in ["route", "enrich", "aggregate"] {
        let name = format!("first-{role}");
        let relevo = || command(binary::relevo(), folder.path());
        done(relevo().args(["plugin", "new", &name, "--role", role]));
        let project = folder.path().join(&name);
        let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
        assert!(readme.contains("relevo plugin check") && readme.lines().count() <= 40, "{readme}");
        // The versions that are here already, so that no registry is asked.
        std::fs::copy(binary::workspace().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();

        let tested = done(
            command(cargo(), &project)
                .args(["test", "--offline", "--lib"])
                .env("CARGO_TARGET_DIR", target.join("newcomer")),
        );
        assert!(tested.contains("test result: ok."), "{tested}");

        let out = folder.path().join("plugins");
        let mut build = relevo();
        build.args(["plugin", "build", &name, "--offline", "--out", "plugins"]).env("CARGO_TARGET_DIR", &target);
        let built = done(&mut build);
        assert!(built.contains("KiB, sha256 "), "{built}");
        assert!(out.join(format!("{name}.toml")).exists());

        let component = format!("plugins/{name}.wasm");
        let report = done(relevo().args(["plugin", "check", &component, "--count", "200", "--seed", "7"]));
        assert!(report.contains(&format!("{name} passed")), "{report}");
        assert!(!report.contains("it sent nothing"), "generated rows reach its code: {report}");
    }
}

/// The first block of a language in a text of Markdown.
fn block(text: &str, language: &str) -> String {
    let (_, from) = text.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no {language} in {text}"));
    from.split("```").next().unwrap().to_owned()
}

/// A project in a folder of a world, and the commands that its author runs there.
struct Author<'a> {
    world: &'a World,
    name: &'a str,
}

impl Author<'_> {
    fn relevo(&self, arguments: &[&str]) -> String {
        let mut relevo = command(binary::relevo(), &self.world.data());
        // What was compiled for the other plugins need not be compiled again.
        relevo.args(arguments).env("CARGO_TARGET_DIR", binary::target_folder());
        done(&mut relevo)
    }

    /// Compiles what is there, and proves it.
    fn build(&self) -> String {
        let component = format!("ready/{}.wasm", self.name);
        self.relevo(&["plugin", "build", self.name, "--offline", "--out", "ready"]);
        self.relevo(&["plugin", "check", &component, "--count", "200", "--seed", "7"]);
        component
    }

    fn deploy(&self, component: &str, server: &Server) {
        let component = self.world.data().join(component).display().to_string();
        let url = format!("http://{}", server.address);
        let deployed = self.world.run(&["plugin", "deploy", "--url", &url, &component]);
        assert!(deployed.status.success() && deployed.log.contains(": serves"), "{}", deployed.log);
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.world.data().join(self.name).join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }
}

#[test]
fn from_nothing_to_a_plugins_first_message_in_less_than_two_minutes() {
    let begun = Instant::now();
    let source = "[[source]]\nname = \"shop\"\nurl = \"sqlite:shop.db\"\ntables = [\"items\"]";
    let world = World::new().append(source);
    let shop = world.data().join("shop.db");
    cli::sqlite3(&shop, "create table items (id integer primary key, title text)");
    let server = world.serve();

    let author = Author { world: &world, name: "alarms" };
    author.relevo(&["plugin", "new", "alarms", "--role", "route"]);
    let project = world.data().join("alarms");
    std::fs::copy(binary::workspace().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let component = author.build();

    // The lines that the README gives, the project's own too, and one restart.
    let lines = block(&std::fs::read_to_string(project.join("README.md")).unwrap(), "toml");
    let readme = std::fs::read_to_string(binary::workspace().join("README.md")).unwrap();
    assert!(readme.contains(&lines), "README.md says otherwise: {lines}");
    server.stop(SOON);
    let world = world.append(&lines);
    let author = Author { world: &world, name: "alarms" };
    let server = Server::listening(Process::start(world.command(&["serve"])));
    server.wait_readyz("what to do", |_, body| body.contains("deploy it: relevo plugin deploy alarms.wasm"));
    author.deploy(&component, &server);
    let server = server.ready();
    let mut client = Client::connect(server.address, &Connect::by("42", "LEVEL_1").to("alarms"));
    cli::sqlite3(&shop, "insert into items values (1, 'First')");
    let message = client.expect_event("alarms", "item_created");
    let took = begun.elapsed();
    assert_eq!(message.data()["title"], "First");

    // The next version takes over while all goes on.
    author.change("src/lib.rs", "\"item_created\"", "\"item_came\"");
    author.change("alarms.toml", "0.1.0", "0.2.0");
    author.deploy(&author.build(), &server);
    cli::sqlite3(&shop, "insert into items values (2, 'Second')");
    let message = client.expect_event("alarms", "item_came");
    assert_eq!(message.data()["title"], "Second");
    assert_eq!(client.messages("alarms").len(), 2);
    println!("from nothing to the first message: {took:.1?}; to the next version's: {:.1?}", begun.elapsed());
    assert!(took < Duration::from_secs(120), "{took:?}");
}

#[test]
fn what_stands_in_a_newcomers_way_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let relevo = |arguments: &[&str]| {
        let mut relevo = command(binary::relevo(), folder.path());
        relevo.arg("plugin").args(arguments);
        relevo
    };
    let said = refused(&mut relevo(&["new", "Bad Name"]));
    assert!(said.contains("1 to 64 of a-z"), "{said}");
    let said = refused(&mut relevo(&["new", "p", "--sdk", "."]));
    assert!(said.contains("holds no crate relevo-plugin"), "{said}");
    std::fs::create_dir_all(folder.path().join("full/src")).unwrap();
    let said = refused(&mut relevo(&["new", "full"]));
    assert!(said.contains("there already, and not empty"), "{said}");
    let said = refused(&mut relevo(&["build", "full"]));
    assert!(said.contains("`relevo plugin new` makes a project"), "{said}");
    let said = refused(&mut relevo(&["check", "none.wasm"]));
    assert!(said.contains("`relevo plugin build` makes it"), "{said}");

    done(&mut relevo(&["new", "p"]));
    // A compiler that lacks the target, and a home without the private one.
    std::fs::write(folder.path().join("rustc"), "#!/bin/sh\necho /nowhere\n").unwrap();
    std::fs::set_permissions(folder.path().join("rustc"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = refused(relevo(&["build", "p"]).env("PATH", folder.path()).env("XDG_CACHE_HOME", folder.path()));
    assert!(said.contains("rustup target add wasm32-wasip2") && said.contains("cargo xtask wasm-target"), "{said}");
}
