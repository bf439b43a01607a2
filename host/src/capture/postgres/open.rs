//! The beginning of a session: from the settings to a stream that goes on where the journal stands.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use pgwire_replication::Lsn;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::super::error::CaptureError;
use super::super::joined;
use super::super::source::Source;
use super::super::taking::Taking;
use super::super::waiting::Waiting;
use super::catalog::Types;
use super::connect::Address;
use super::finding::Weight;
use super::parts::Parts;
use super::place::place;
use super::preflight::{self, Preflight};
use super::publication::{self, Change};
use super::pulse::Pulse;
use super::room;
use super::silence::{Silence, within};
use super::stream::{FASTEST, Session};
use super::transaction::{Transactions, lsn};
use super::transport::Wire;

/// Opens the database, makes publication and slot, and finds the place where the journal stands.
pub(crate) async fn open(source: &Source) -> Result<Session<'_, Wire>, CaptureError> {
    let settings = &source.settings;
    let address = Address::parse(&settings.url)?;
    let (mut db, mut watcher) = (address.connect().await?, address.connect().await?);
    let patience = settings.silence;
    let looked = within(patience, "the preflight", preflight::look(&mut db, settings)).await?;
    let Preflight { server, tables, findings } = looked;
    let of = |weight| findings.iter().filter(move |f| f.weight == weight).map(ToString::to_string);
    if findings.iter().any(|f| f.weight == Weight::Blocks) {
        let all: Vec<String> = of(Weight::Blocks).chain(of(Weight::Table)).collect();
        return Err(CaptureError::NotReady(joined(&all)));
    }
    source.advise(of(Weight::Advice).collect());
    let mut problems: Vec<_> = of(Weight::Table).collect();
    let publication = settings.publication();
    let publish = publication::publish(&mut db, &publication, tables, &server, true);
    let Change { published, tables, added, kept_out, problems: locked } =
        within(patience, "the change of the publication", publish).await?;
    let patient = locked.is_empty();
    problems.extend(locked);
    let room = within(patience, "how wide the rows are", room::messages(&mut db, &tables)).await?;
    let place = place(source, &mut db, &mut watcher, &server).await?;
    let wire = address.replication(&settings.slot(), &settings.publication(), place.start);
    let wire = wire.with_ack_lsn(Lsn(place.confirmed)).with_buffer_size(room);
    let transport = Wire::start(wire).await?;
    tracing::info!(source = %settings.name, from = lsn(place.start), tables = tables.len(), "streaming");

    let (danger, danger_seen) = watch::channel(None);
    let silence = Silence::new();
    let beat = Arc::new(Notify::new());
    let pulse = Pulse {
        address: address.clone(),
        slot: settings.slot(),
        every: settings.tick.max(FASTEST),
        guard: settings.guard,
        patience,
        now: Arc::clone(&beat),
        danger,
        silence: silence.clone(),
        health: source.health.clone(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        pulse.run().await;
        None
    });
    let transactions = Transactions::new(&settings.name, source.record_bytes, &server, &place);
    let mut session = Session {
        source,
        address,
        server,
        db,
        transport,
        tables: tables.into_iter().map(Arc::new).collect(),
        types: Types::default(),
        published,
        formed: HashMap::new(),
        relations: HashMap::new(),
        parts: Parts::default(),
        patient,
        unwatched: HashSet::new(),
        streamed: watch::Sender::new(transactions.streamed()),
        emptied: HashSet::new(),
        transactions,
        waiting: Waiting::default(),
        appending: None,
        begun: Instant::now(),
        durable: source.journal.watch_durable(),
        beat,
        danger: danger_seen,
        silence,
        saved: Instant::now(),
        looked: Instant::now(),
        tasks,
        taking: Taking::default(),
        problems: Vec::new(),
        blocked: false,
        unmet: Vec::new(),
    };
    session.say_problems(problems);
    session.miss(&kept_out, place.resumed).await?;
    within(patience, "the look at new tables", session.take_in(&added, place.resumed)).await?;
    session.watches();
    session.say();
    Ok(session)
}
