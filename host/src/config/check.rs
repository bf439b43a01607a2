//! Checks what a type can't say: limits that are not zero, names that are there once, patterns.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    AuthSettings, ChannelSettings, Config, ConfigError, JournalSettings, PipelineSettings, SourceSettings, address,
    is_role,
};
use crate::message::{ChannelKind, ChannelPattern};

/// Names that the server uses itself.
const RESERVED_SOURCES: [&str; 2] = ["clock", "ingest"];
const RESERVED_PIPELINES: [&str; 1] = ["publications"];

type Checked = Result<(), ConfigError>;

pub(super) fn all(config: &Config) -> Checked {
    if config.data.as_os_str().is_empty() {
        return wrong("data", "it is empty", "a folder");
    }
    log("log", &config.log)?;
    auth(config)?;
    journal(config)?;
    session(config)?;
    gad(config)?;
    notices(config)?;
    page(config)?;
    plugins(config)?;
    sources(&config.sources)?;
    pipelines(&config.pipelines)?;
    entries(config)?;
    channels(&config.channels)
}

/// A filter for log lines; `name` is the setting's or the variable's.
pub(super) fn log(name: &str, filter: &str) -> Checked {
    const ALLOWED: &str = "off, error, warn, info, debug or trace, or a filter like info,relevo::capture=debug";
    // A bare word would be taken for a part of the program that doesn't exist, and silence all others.
    let word = |part: &&str| !part.contains(['=', ':']) && part.parse::<tracing::level_filters::LevelFilter>().is_err();
    if let Some(part) = filter.split(',').map(str::trim).find(word) {
        return wrong(name, format!("{part:?} is no level"), ALLOWED);
    }
    match filter.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(()),
        Err(e) => wrong(name, format!("{filter:?}: {e}"), ALLOWED),
    }
}

fn auth(config: &Config) -> Checked {
    let auth = &config.auth;
    // Never shown, not even a wrong one.
    if let Some(bytes) =
        auth.secret.as_ref().map(|secret| secret.trim().len()).filter(|n| *n < AuthSettings::SECRET_BYTES)
    {
        let allowed = format!("{} bytes or more (try: openssl rand -hex 32)", AuthSettings::SECRET_BYTES);
        return wrong("auth.secret (RELEVO_JWT_SECRET)", format!("it has {bytes} bytes"), allowed);
    }
    for (name, value) in [("auth.issuer", &auth.issuer), ("auth.audience", &auth.audience)] {
        if value.as_ref().is_some_and(String::is_empty) {
            return wrong(name, "it is empty", "a text, or no such setting");
        }
    }
    if let Some(role) = auth.operators.iter().find(|role| !is_role(role)) {
        return wrong("auth.operators", format!("{role:?} is no role"), "names of roles");
    }
    Ok(())
}

fn journal(config: &Config) -> Checked {
    let journal = &config.journal;
    time("journal.sync_every", journal.sync_every)?;
    time("journal.keep_for", journal.keep_for)?;
    at_least("journal.memory", journal.memory, 64 << 10)?;
    at_least("journal.keep_bytes", journal.keep_bytes, 64 << 10)?;
    at_least("journal.limit_bytes", journal.limit_bytes, 64 << 10)?;
    at_least("journal.max_bytes", journal.max_bytes.unwrap_or(u64::MAX), 256 << 10)?;
    at_least("journal.wal_bytes", journal.wal_bytes, 64 << 10)?;
    at_least("journal.keep_checkpoints", journal.keep_checkpoints.into(), 2)?;
    time("journal.keep_letters_for", journal.keep_letters_for)?;
    at_least("journal.letters_bytes", journal.letters_bytes, 64 << 10)?;
    if journal.keep_bytes > journal.limit_bytes {
        return wrong(
            "journal.keep_bytes",
            format!("{} is more than journal.limit_bytes = {}", journal.keep_bytes, journal.limit_bytes),
            "journal.limit_bytes or less",
        );
    }
    at_least("journal.record_bytes", journal.record_bytes, JournalSettings::LEAST_RECORD_BYTES)?;
    if journal.record_bytes > 8 << 20 {
        return wrong("journal.record_bytes", format!("{} bytes", journal.record_bytes), "64KiB to 8MiB");
    }
    Ok(())
}

fn session(config: &Config) -> Checked {
    let session = &config.session;
    if !(1..=256).contains(&session.fan_out_threads) {
        return wrong("session.fan_out_threads", session.fan_out_threads.to_string(), "1 to 256");
    }
    at_least("session.max_connections", session.max_connections as u64, 1)?;
    at_least("session.max_subscriptions", session.max_subscriptions as u64, 1)?;
    at_least("session.message_bytes", session.message_bytes, 1 << 10)?;
    at_least("session.outbox_bytes", session.outbox_bytes, 1 << 10)?;
    time("session.hello_within", session.hello_within)?;
    time("session.heartbeat", session.heartbeat)?;
    time("session.pong_within", session.pong_within)?;
    time("session.shutdown_within", session.shutdown_within)
}

fn gad(config: &Config) -> Checked {
    for (role, channels) in &config.gad.channels {
        if role != "*" && !is_role(role) {
            return wrong("gad.channels", format!("{role:?} is no role"), "names of roles, or * for the rest");
        }
        for channel in channels {
            if channel.own().is_some() {
                let allowed = "other channels: a session has its user: and its role: channel by itself";
                return wrong(format!("gad.channels.{role}"), channel.to_string(), allowed);
            }
            let is_notices = config.notices.enabled && *channel == config.notices.channel;
            if config.channel(channel).is_none() && !is_notices {
                let allowed = "channels that a [[channel]] is for";
                return wrong(format!("gad.channels.{role}"), format!("no rule is for {channel}"), allowed);
            }
        }
    }
    match &config.gad.dashboard {
        Some(channel) if config.channel(channel).is_none_or(|rule| rule.kind != ChannelKind::State) => {
            wrong("gad.dashboard", format!("{channel} is no state channel"), "a channel of kind state")
        }
        _ => Ok(()),
    }
}

fn notices(config: &Config) -> Checked {
    let notices = &config.notices;
    time("notices.again_after", notices.again_after)?;
    time("notices.capture_lag", notices.capture_lag)?;
    let channel = &notices.channel;
    if channel.own().is_some() {
        return wrong("notices.channel", format!("{channel} is somebody's own"), "another channel");
    }
    // A restart finds there what was told.
    let rule = config.channels.iter().find(|rule| rule.pattern == channel.as_str());
    match rule.filter(|rule| rule.kind != ChannelKind::Stream) {
        Some(_) => wrong("notices.channel", format!("{channel} is no stream channel"), "a channel of kind stream"),
        None => Ok(()),
    }
}

fn page(config: &Config) -> Checked {
    let named = config.page.channels.iter().map(|channel| ("page.channels", channel));
    let shown = config.page.fields.keys().map(|channel| ("page.fields", channel));
    match named.chain(shown).find(|(_, channel)| config.channel(channel).is_none()) {
        Some((setting, channel)) => {
            wrong(setting, format!("no rule is for {channel}"), "channels that a [[channel]] is for")
        }
        None => Ok(()),
    }
}

fn plugins(config: &Config) -> Checked {
    let plugins = &config.plugins;
    let mut names = BTreeSet::new();
    for (at, trusted) in plugins.trusted_keys.iter().enumerate() {
        name(format!("plugins.trusted_key[{at}].name"), &trusted.name, &mut names, &[])?;
    }
    if plugins.require_signature && plugins.trusted_keys.is_empty() {
        let allowed = "with a [[plugins.trusted_key]]: `relevo plugin keygen FILE` makes a key and prints it";
        return wrong("plugins.require_signature", "no key is trusted, so no plugin could run", allowed);
    }
    at_least("plugins.replace_instance_after", plugins.replace_instance_after.into(), 1)?;
    at_least("plugins.batch_events", plugins.batch_events as u64, 1)?;
    at_least("plugins.batch_bytes", plugins.batch_bytes, 1)?;
    at_least("plugins.lookup_bytes", plugins.lookup_bytes, 1)?;
    time("plugins.retry_after", plugins.retry_after)?;
    at_least("plugins.keep_versions", plugins.keep_versions as u64, 2)?;
    at_least("plugins.component_bytes", plugins.component_bytes, 1)?;
    time("plugins.canary_within", plugins.canary_within)?;
    time("plugins.trial_within", plugins.trial_within)?;
    time("plugins.shadow_within", plugins.shadow_within)?;
    time("plugins.migration_cpu", plugins.migration_cpu)?;
    time("plugins.checkpoint_every", plugins.checkpoint_every)?;
    at_least("plugins.quarantine_after", plugins.quarantine_after.into(), 1)?;
    time("plugins.limits.cpu", plugins.limits.cpu)?;
    at_least("plugins.limits.memory", plugins.limits.memory, 64 << 10)?;
    at_least("plugins.limits.output_bytes", plugins.limits.output_bytes, 1)?;
    at_least("plugins.limits.output_messages", plugins.limits.output_messages.into(), 1)?;
    at_least("plugins.limits.state_bytes", plugins.limits.state_bytes, 1)
}

fn sources(sources: &[SourceSettings]) -> Checked {
    let mut seen = BTreeSet::new();
    for (at, source) in sources.iter().enumerate() {
        let here = |field: &str| format!("source[{at}].{field}");
        name(here("name"), &source.name, &mut seen, &RESERVED_SOURCES)?;
        address::check(&here("url"), source)?;
        for (field, name) in [("slot", &source.slot), ("publication", &source.publication)] {
            let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            if let Some(name) = name.as_ref().filter(|name| !(1..=63).contains(&name.len()) || !name.bytes().all(legal))
            {
                return wrong(here(field), format!("{name:?} can't be a name"), "1 to 63 of a-z, 0-9 and _");
            }
        }
        time(here("tick"), source.tick)?;
        time(here("poll"), source.poll)?;
        time(here("guard"), source.guard)?;
        time(here("silence"), source.silence)?;
        let mut tables = BTreeSet::new();
        for table in &source.tables {
            if table.is_empty() || !tables.insert(table) {
                return wrong(here("tables"), format!("{table:?} is empty or twice there"), "each table once");
            }
        }
        // Plugins know a table by its name alone: they would mix the rows.
        for other in &sources[..at] {
            if let Some(both) = shared_table(other, source) {
                return wrong(
                    here("tables"),
                    format!("{both} of this source and of source {}", other.name),
                    "sources that name their tables, and none the same",
                );
            }
        }
        for table in source.exclude.keys() {
            if !source.tables.is_empty() && !source.tables.contains(table) {
                return wrong(here("exclude"), format!("{table} is not among the tables"), source.tables.join(", "));
            }
        }
    }
    Ok(())
}

/// What table two sources both watch, if any; a source that names none watches all.
fn shared_table(one: &SourceSettings, other: &SourceSettings) -> Option<String> {
    if one.tables.is_empty() || other.tables.is_empty() {
        return Some("all tables (there is no list of them)".into());
    }
    let both = one.tables.iter().find(|table| other.tables.iter().any(|t| t.eq_ignore_ascii_case(table)))?;
    Some(format!("table {both}"))
}

fn pipelines(pipelines: &[PipelineSettings]) -> Checked {
    let mut seen = BTreeSet::new();
    for (at, pipeline) in pipelines.iter().enumerate() {
        name(format!("pipeline[{at}].name"), &pipeline.name, &mut seen, &RESERVED_PIPELINES)?;
        let here = format!("pipeline[{at}].plugins");
        let count = pipeline.plugins.len();
        if !(1..=PipelineSettings::MAX_PLUGINS).contains(&count) {
            let allowed = format!("the names of 1 to {} plugins", PipelineSettings::MAX_PLUGINS);
            return wrong(here, format!("there are {count}"), allowed);
        }
        let mut plugins = BTreeSet::new();
        for plugin in &pipeline.plugins {
            name(here.clone(), plugin, &mut plugins, &[])?;
        }
    }
    Ok(())
}

/// Each `[plugin.NAME]` is for a plugin that some pipeline has: a name with a mistake in it would grant nothing.
fn entries(config: &Config) -> Checked {
    let known: BTreeSet<&str> = config.pipelines.iter().flat_map(|p| &p.plugins).map(|name| &**name).collect();
    let Some(stray) = config.plugin.keys().find(|name| !known.contains(&***name)) else { return Ok(()) };
    let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
    let guess = super::nearest(stray, &known).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
    wrong(format!("plugin.{stray}"), format!("no [[pipeline]] has that plugin{guess}"), known.join(", "))
}

fn channels(channels: &[ChannelSettings]) -> Checked {
    let mut seen = BTreeSet::new();
    for (at, channel) in channels.iter().enumerate() {
        let here = |field: &str| format!("channel[{at}].{field}");
        let pattern = &channel.pattern;
        if let Err(allowed) = ChannelPattern::parse(pattern) {
            return wrong(here("pattern"), format!("{pattern:?} can't be used"), allowed);
        }
        if !seen.insert(pattern) {
            return wrong(here("pattern"), format!("{pattern:?} is there twice"), "each pattern once");
        }
        for (field, roles) in [("read", &channel.read), ("publish", &channel.publish)] {
            if let Some(role) = roles.iter().find(|role| *role != "*" && !is_role(role)) {
                return wrong(here(field), format!("{role:?} is no role"), "names of roles, or * for every role");
            }
        }
        // A session has these by itself, and there is no answer after which their keys could come.
        if channel.kind == ChannelKind::State
            && let Some(own) = ["user:", "role:"].into_iter().find(|own| decides(&channels[..at], pattern, own))
        {
            return wrong(
                here("kind"),
                format!("a {own} channel would be of kind state, and every session has its own by itself"),
                format!("kind = \"stream\" or \"ephemeral\"; or a rule for {own}* before this one"),
            );
        }
        if channel.kind != ChannelKind::State && !channel.every.is_zero() {
            return wrong(here("every"), "only a state channel can have it", "kind = \"state\", or no every");
        }
        let kept = channel.keep_for.is_some() || channel.keep_bytes.is_some();
        if channel.kind != ChannelKind::Stream && kept {
            return wrong(
                here(if channel.keep_for.is_some() { "keep_for" } else { "keep_bytes" }),
                "only a stream channel keeps messages",
                "kind = \"stream\", or no keep_for and keep_bytes",
            );
        }
        if let Some(keep_for) = channel.keep_for {
            time(here("keep_for"), keep_for)?;
        }
        if let Some(keep_bytes) = channel.keep_bytes {
            at_least(here("keep_bytes"), keep_bytes, 1)?;
        }
    }
    Ok(())
}

/// Whether a pattern is the first to match some name with this beginning.
fn decides(before: &[ChannelSettings], pattern: &str, beginning: &str) -> bool {
    let taken =
        before.iter().any(|rule| rule.pattern.strip_suffix('*').is_some_and(|head| beginning.starts_with(head)));
    let head = pattern.split('*').next().unwrap_or_default();
    let may = head.starts_with(beginning) || (pattern.contains('*') && beginning.starts_with(head));
    may && !taken
}

/// Names stand in file names, log lines and channel names.
fn name<'a>(setting: String, name: &'a str, seen: &mut BTreeSet<&'a str>, reserved: &[&str]) -> Checked {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(legal) {
        return wrong(setting, format!("{name:?} can't be a name"), "1 to 64 letters, digits, _ and -");
    }
    if reserved.contains(&name) {
        return wrong(setting, format!("{name:?} is the server's own"), "any other name");
    }
    if !seen.insert(name) {
        return wrong(setting, format!("{name:?} is there twice"), "each name once");
    }
    Ok(())
}

fn at_least(setting: impl Into<String>, value: u64, least: u64) -> Checked {
    if value < least {
        return wrong(setting, format!("{value} is too small"), format!("{least} or more"));
    }
    Ok(())
}

fn time(setting: impl Into<String>, value: Duration) -> Checked {
    if value.is_zero() {
        return wrong(setting, "it is zero", "a time like 50ms, 30s, 15m, 12h or 7d");
    }
    Ok(())
}

fn wrong(name: impl Into<String>, wrong: impl Into<String>, allowed: impl Into<String>) -> Checked {
    Err(ConfigError { name: name.into(), wrong: wrong.into(), allowed: allowed.into() })
}
