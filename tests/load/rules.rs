//! What the changes are and what the plugins make of them.

use std::fmt;

use clap::ValueEnum;
use relevo_tests::postgres::Postgres;
use relevo_tests::server::Server;
use relevo_tests::world::World;

use crate::sockets::{Socket, find, number_after};

/// The first id of users, efectivos and tasks.
pub(crate) const FIRST: u64 = 1000;
pub(crate) const USERS: u64 = 100;
/// Of the example: each goes to and fro between two efectivos, so that every change is a message to one user.
const TASKS: u64 = USERS / 2;

/// Which three plugins.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Rules {
    /// One of each role: a name is added to each row, the row goes to one user, changes are counted.
    Plain,
    /// The example's own: three messages for each change.
    Example,
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "enricher, router and aggregator, a message each",
            Self::Example => "the example's plugins, three messages each",
        })
    }
}

impl Rules {
    /// With people and tasks.
    pub(crate) fn world(self) -> World {
        let world = match self {
            Self::Example => World::postgres(),
            Self::Plain => World::over(Postgres::start(), |world| {
                self.plugins().iter().for_each(|plugin| world.install(plugin));
                world.pipelines(
                    "[[pipeline]]\nname = \"inbox\"\nplugins = [\"lead\", \"inbox\"]\n\n\
                     [[pipeline]]\nname = \"activity\"\nplugins = [\"activity\"]",
                )
            }),
        };
        world.sql(&people());
        world
    }

    pub(crate) fn plugins(self) -> [&'static str; 3] {
        match self {
            Self::Plain => ["lead", "inbox", "activity"],
            Self::Example => ["tareas", "efectivos", "panel"],
        }
    }

    pub(crate) fn pipelines(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["inbox", "activity"],
            Self::Example => &["tareas", "efectivos", "panel"],
        }
    }

    /// One that gets a message for each change that is not spread.
    pub(crate) async fn subscriber(self, server: &Server) -> Socket {
        match self {
            Self::Plain => Socket::connect_as(server.address, &FIRST.to_string(), "LEVEL_1", &[]).await,
            Self::Example => Socket::connect(server.address, &["tasks"]).await,
        }
    }

    /// What stands in a message to a user alone.
    pub(crate) fn to_users(self) -> &'static [u8] {
        match self {
            Self::Plain => b"task_changed",
            Self::Example => b"task_assigned",
        }
    }

    /// Whether a message is what all plugins on its way made.
    pub(crate) fn is_whole(self, text: &[u8]) -> bool {
        match self {
            Self::Plain => find(text, b"\"delegado\":\"Nombre\"").is_some(),
            Self::Example => true,
        }
    }

    /// Of the plain rules: that each change was counted once.
    pub(crate) async fn check_counts(self, server: &Server, changes: u64) {
        if let Self::Plain = self {
            let mut socket = Socket::connect(server.address, &["dashboard:activity"]).await;
            let mut counted = None;
            while counted.is_none() {
                socket.frames(|text| counted = counted.or(number_after(text, b"\"PROGRAMMED\":"))).await;
            }
            assert_eq!(counted, Some(changes), "the aggregator's count");
        }
    }

    /// To whom a change goes that is spread, counted from the first user.
    pub(crate) fn user_of(self, n: u64) -> u64 {
        match self {
            Self::Plain => n % USERS,
            Self::Example => 2 * (n % TASKS) + n / TASKS % 2,
        }
    }

    /// Changes with rising numbers. `spread`: over all users.
    pub(crate) fn writes(self, first: u64, changes: u64, transaction: u64, spread: bool) -> String {
        let last = first + changes - 1;
        let change = match self {
            Self::Plain => format!(
                "update tareas set titulo = 'bench ' || n, delegado_usuario_id = {FIRST} + {user} where id = {FIRST} + n % {USERS}",
                user = if spread { format!("n % {USERS}") } else { "0".into() }
            ),
            Self::Example => format!(
                "update tareas set titulo = 'bench ' || n,
                   efectivos_asignados = jsonb_build_array({FIRST} + 2 * (n % {TASKS}) + n / {TASKS} % 2)
                 where id = {FIRST} + n % {TASKS}"
            ),
        };
        format!(
            "do $$ begin for n in {first}..{last} loop {change}; if n % {transaction} = 0 then commit; end if; end loop; end $$"
        )
    }

    /// A change that is not spread.
    pub(crate) fn retitle(self, n: u64, title: &str) -> String {
        let delegate = match self {
            Self::Plain => format!(", delegado_usuario_id = {FIRST}"),
            Self::Example => String::new(),
        };
        format!("update tareas set titulo = '{title}'{delegate} where id = {FIRST} + {n} % {TASKS}")
    }
}

fn people() -> String {
    format!(
        "insert into usuarios (id, uuid, dni, nombre, apellido, hashed_password)
           select n, 'b-' || n, 'b-' || n, 'Nombre', 'Apellido', 'x' from generate_series({FIRST}, {last}) n;
         insert into efectivos (id, uuid, usuario_id, codigo_interno)
           select n, 'b-' || n, n, 'B-' || n from generate_series({FIRST}, {last}) n;
         insert into tareas (id, uuid, codigo, titulo, tipo, creado_por_usuario_id)
           select n, 'b-' || n, 'B-' || n, 'none', 'PATRULLAJE', {FIRST} from generate_series({FIRST}, {last}) n;",
        last = FIRST + USERS - 1
    )
}
