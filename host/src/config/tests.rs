use std::ffi::OsString;

use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::from_text(text, |_| None)
}

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_text(text, |name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
}

/// The error's name, without the line, and its whole text.
fn refused(text: &str) -> (String, String) {
    let error = load(text).expect_err(text);
    (error.name.split(" (line").next().unwrap().to_owned(), error.to_string())
}

#[test]
fn the_built_in_configuration_is_good() {
    let config = load(BUILT_IN).unwrap();
    assert_eq!(config.listen.port(), 8002);
    assert_eq!(config.plugins_folder(), std::path::Path::new("data/plugins"));
    assert_eq!(config.sources[0].sqlite_path(&config.data).unwrap(), std::path::Path::new("data/gad.db"));
}

#[test]
fn an_empty_file_is_good() {
    assert!(load("").is_ok());
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = with(
        &format!("listen = \"127.0.0.1:1\"\nlog = \"warn\"\ndata = \"/a\"\n{BUILT_IN}"),
        &[
            ("RELEVO_LISTEN", "0.0.0.0:9000"),
            ("RELEVO_DATA", "/tmp/x"),
            ("RELEVO_LOG", "debug"),
            ("RELEVO_LOG_FORMAT", "json"),
            ("RELEVO_JWT_SECRET", "a secret that is set from outside, long"),
            ("RELEVO_DATABASE_URL", "sqlite:/srv/tasks.db"),
        ],
    )
    .unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:9000");
    assert_eq!(config.data, std::path::Path::new("/tmp/x"));
    assert_eq!(config.log, "debug");
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.auth.secret.as_deref(), Some("a secret that is set from outside, long"));
    assert_eq!(config.sources[0].sqlite_path(&config.data).unwrap(), std::path::Path::new("/srv/tasks.db"));
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [
        ("RELEVO_LISTEN", "8002"),
        ("RELEVO_LISTEN", "localhost"),
        ("RELEVO_LOG_FORMAT", "xml"),
        ("RELEVO_LOG", "loud=;;"),
        ("RELEVO_DATABASE_URL", "oracle:prod"),
    ] {
        let error = with(BUILT_IN, &[(name, value)]).expect_err(value);
        assert_eq!(error.name, name);
        assert!(error.wrong.contains(value), "{error}");
    }
    assert_eq!(with("", &[("RELEVO_DATABASE_URL", "sqlite:x")]).expect_err("").name, "RELEVO_DATABASE_URL");
    assert!(with(BUILT_IN, &[("RELEVO_LISTEN", "")]).is_ok(), "empty is not set");
}

#[test]
fn a_key_that_is_not_known_is_named_with_the_one_that_was_meant() {
    let (name, text) = refused("lisen = \"127.0.0.1:1\"");
    assert_eq!(name, "lisen");
    assert!(text.contains("did you mean listen?") && text.contains("line 1"), "{text}");
    let (name, text) = refused("[journal]\nmemroy = \"1MiB\"");
    assert_eq!(name, "journal.memroy");
    assert!(text.contains("did you mean memory?") && text.contains("line 2"), "{text}");
    let (name, text) = refused("[[channel]]\npattern = \"a\"\nreads = [\"*\"]");
    assert_eq!(name, "channel[0].reads");
    assert!(text.contains("did you mean read?"), "{text}");
}

#[test]
fn each_wrong_value_is_named() {
    let source = "[[source]]\nname = \"a\"\nurl = \"sqlite:a\"\n";
    let other = "[[source]]\nname = \"b\"\nurl = \"sqlite:b\"\n";
    let pipeline = "[[pipeline]]\nname = \"a\"\nplugins = [\"x\"]\n";
    let channel = "[[channel]]\npattern = \"a\"\n";
    for (text, setting) in [
        ("listen = \"8002\"", "listen"),
        ("listen = 8002", "listen"),
        ("data = \"\"", "data"),
        ("log = \"relevo=loud\"", "log"),
        ("log_format = \"xml\"", "log_format"),
        ("[auth]\nsecret = \"short\"", "auth.secret (RELEVO_JWT_SECRET)"),
        ("[auth]\nissuer = \"\"", "auth.issuer"),
        ("[auth]\naudience = \"\"", "auth.audience"),
        ("[journal]\nmemory = \"64 monkeys\"", "journal.memory"),
        ("[journal]\nmemory = true", "journal.memory"),
        ("[journal]\nmemory = 0", "journal.memory"),
        ("[journal]\nsync_every = \"soon\"", "journal.sync_every"),
        ("[journal]\nsync_every = \"0s\"", "journal.sync_every"),
        ("[journal]\nkeep_for = 0", "journal.keep_for"),
        ("[journal]\nkeep_bytes = 0", "journal.keep_bytes"),
        ("[journal]\nlimit_bytes = 0", "journal.limit_bytes"),
        ("[journal]\nwal_bytes = 0", "journal.wal_bytes"),
        ("[journal]\nkeep_checkpoints = 1", "journal.keep_checkpoints"),
        ("[journal]\nkeep_letters_for = 0", "journal.keep_letters_for"),
        ("[journal]\nletters_bytes = 0", "journal.letters_bytes"),
        ("[journal]\nrecord_bytes = \"1GiB\"", "journal.record_bytes"),
        ("[journal]\nrecord_bytes = \"63KiB\"", "journal.record_bytes"),
        ("[journal]\nkeep_bytes = \"2GiB\"\nlimit_bytes = \"1GiB\"", "journal.keep_bytes"),
        ("[journal]\ndurability = \"none\"", "journal.durability"),
        ("[session]\nfan_out_threads = 0", "session.fan_out_threads"),
        ("[session]\nmax_connections = 0", "session.max_connections"),
        ("[session]\nmax_subscriptions = 0", "session.max_subscriptions"),
        ("[session]\nmessage_bytes = 0", "session.message_bytes"),
        ("[session]\noutbox_bytes = 0", "session.outbox_bytes"),
        ("[session]\nhello_within = 0", "session.hello_within"),
        ("[session]\nheartbeat = 0", "session.heartbeat"),
        ("[session]\npong_within = 0", "session.pong_within"),
        ("[session]\nshutdown_within = 0", "session.shutdown_within"),
        ("[plugins]\nreplace_instance_after = 0", "plugins.replace_instance_after"),
        ("[plugins]\nbatch_events = 0", "plugins.batch_events"),
        ("[plugins]\nbatch_events = -1", "plugins.batch_events"),
        ("[plugins.limits]\ncpu = 0", "plugins.limits.cpu"),
        ("[plugins.limits]\nmemory = 0", "plugins.limits.memory"),
        ("[plugins.limits]\noutput_bytes = 0", "plugins.limits.output_bytes"),
        ("[plugins.limits]\noutput_messages = 0", "plugins.limits.output_messages"),
        ("[plugins.limits]\nstate_bytes = 0", "plugins.limits.state_bytes"),
        ("[gad]\nchannels = { \"a b\" = [] }", "gad.channels"),
        ("[gad]\nchannels = { ADMIN = [\"a b\"] }", "gad.channels.ADMIN[0]"),
        ("[gad]\nchannels = { ADMIN = [\"user:7\"] }", "gad.channels.ADMIN"),
        ("[gad]\nchannels = { \"*\" = [\"a\"] }", "gad.channels.*"),
        (&format!("[gad]\ndashboard = \"a\"\n{channel}"), "gad.dashboard"),
        ("[[source]]\nname = \"a b\"\nurl = \"sqlite:a\"", "source[0].name"),
        ("[[source]]\nname = \"clock\"\nurl = \"sqlite:a\"", "source[0].name"),
        ("[[source]]\nname = \"a\"\nurl = \"mysql://x\"", "source[0].url"),
        ("[[source]]\nname = \"a\"\nurl = \"sqlite:\"", "source[0].url"),
        ("[[source]]\nname = \"a\"", "source[0]"),
        (&format!("{source}tick = 0"), "source[0].tick"),
        (&format!("{source}slot = \"Mine\""), "source[0].slot"),
        (&format!("{source}publication = \"\""), "source[0].publication"),
        ("[[source]]\nname = \"a\"\nurl = \"postgres://u:p@h:x/d\"", "source[0].url"),
        (&format!("{source}poll = 0"), "source[0].poll"),
        (&format!("{source}guard = 0"), "source[0].guard"),
        (&format!("{source}silence = 0"), "source[0].silence"),
        (&format!("{source}tables = [\"t\", \"t\"]"), "source[0].tables"),
        (&format!("{source}tables = [\"t\"]\nexclude = {{ u = [\"x\"] }}"), "source[0].exclude"),
        (&format!("{source}{source}"), "source[1].name"),
        (&format!("{source}tables = [\"t\", \"u\"]\n{other}tables = [\"U\"]"), "source[1].tables"),
        (&format!("{source}tables = [\"t\"]\n{other}"), "source[1].tables"),
        (&format!("{source}{other}tables = [\"t\"]"), "source[1].tables"),
        ("[[pipeline]]\nname = \"publications\"\nplugins = [\"x\"]", "pipeline[0].name"),
        ("[[pipeline]]\nname = \"a\"\nplugins = []", "pipeline[0].plugins"),
        ("[[pipeline]]\nname = \"a\"\nplugins = [\"../x\"]", "pipeline[0].plugins"),
        ("[[pipeline]]\nname = \"a\"\nplugins = [\"x\", \"x\"]", "pipeline[0].plugins"),
        (&format!("{pipeline}{pipeline}"), "pipeline[1].name"),
        ("[[channel]]\npattern = \"a*b*\"", "channel[0].pattern"),
        ("[[channel]]\npattern = \"\"", "channel[0].pattern"),
        ("[[channel]]\npattern = \"a b\"", "channel[0].pattern"),
        (&format!("{channel}{channel}"), "channel[1].pattern"),
        (&format!("{channel}kind = \"stat\""), "channel[0].kind"),
        (&format!("{channel}read = [\"a b\"]"), "channel[0].read"),
        (&format!("{channel}publish = [\"\"]"), "channel[0].publish"),
        (&format!("{channel}every = \"1s\""), "channel[0].every"),
        (&format!("{channel}kind = \"state\"\nkeep_for = \"1s\""), "channel[0].keep_for"),
        (&format!("{channel}keep_bytes = 0"), "channel[0].keep_bytes"),
        ("listen = ", "the file"),
    ] {
        let (name, message) = refused(text);
        assert_eq!(name, setting, "{text}: {message}");
        assert!(message.contains("; allowed: ") && !message.ends_with("allowed: "), "{message}");
    }
}

#[test]
fn two_sources_with_tables_of_their_own_are_good() {
    let source =
        |name: &str| format!("[[source]]\nname = \"{name}\"\nurl = \"sqlite:{name}\"\ntables = [\"{name}\"]\n");
    assert!(load(&format!("{}{}", source("a"), source("b"))).is_ok());
}

#[test]
fn a_session_s_own_channels_are_no_state_channels() {
    let rule = |pattern: &str, kind: &str| format!("[[channel]]\npattern = \"{pattern}\"\nkind = \"{kind}\"\n");
    for pattern in ["user:*", "user:7", "role:ADMIN", "role*", "*", "*:board", "user:7*"] {
        let (name, message) = refused(&rule(pattern, "state"));
        assert_eq!(name, "channel[0].kind", "{message}");
        assert!(message.contains("user:") || message.contains("role:"), "{message}");
    }
    for pattern in ["users:*", "user", "board", "tasks:*", "r"] {
        assert!(load(&rule(pattern, "state")).is_ok(), "{pattern}");
    }
    let own = format!("{}{}", rule("user:*", "stream"), rule("role:*", "ephemeral"));
    assert!(load(&format!("{own}{}", rule("*", "state"))).is_ok(), "the first rule decides");
    assert_eq!(refused(&format!("{}{}", rule("user:*", "stream"), rule("*", "state"))).0, "channel[1].kind");
}

#[test]
fn a_short_secret_is_refused_without_being_shown() {
    let error = with("", &[("RELEVO_JWT_SECRET", "hunter2")]).expect_err("short");
    assert!(error.name.contains("RELEVO_JWT_SECRET"));
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("/nowhere/relevo.toml"))).expect_err("not there");
    assert_eq!(error.name, "the file /nowhere/relevo.toml");
}

#[test]
fn operators_read_the_notices_and_a_wildcard_lets_nobody_else_in() {
    let channel = ChannelName::new("system:operators").unwrap();
    let operators = "[auth]\noperators = [\"ADMIN\"]\n";
    let wide = "[[channel]]\npattern = \"*\"\nread = [\"*\"]\n";
    let config = load(&format!("{operators}{wide}")).unwrap();
    assert_eq!(config.channel(&channel).unwrap().read, ["ADMIN"]);
    let own = "[[channel]]\npattern = \"system:operators\"\nread = [\"LEVEL_3\"]\nkeep_for = \"1d\"\n";
    let config = load(&format!("{operators}{wide}{own}")).unwrap();
    let rule = config.channel(&channel).unwrap();
    assert_eq!((&rule.read[..], rule.keep_for.is_some()), (&["LEVEL_3".to_owned(), "ADMIN".to_owned()][..], true));
    let config = load(&format!("[notices]\nenabled = false\n{wide}")).unwrap();
    assert_eq!(config.channel(&channel).unwrap().read, ["*"], "it is a channel like any other then");
}

#[test]
fn notices_need_a_stream_channel_and_times() {
    let state = "[[channel]]\npattern = \"system:operators\"\nkind = \"state\"\n";
    assert_eq!(refused(state).0, "notices.channel");
    assert_eq!(refused("[notices]\nchannel = \"user:7\"\n").0, "notices.channel");
    assert_eq!(refused("[notices]\nagain_after = \"0s\"\n").0, "notices.again_after");
    assert_eq!(refused("[notices]\ncapture_lag = \"0s\"\n").0, "notices.capture_lag");
}

#[test]
fn what_is_said_of_a_plugin_is_for_one_that_a_pipeline_has() {
    let pipeline = "[[pipeline]]\nname = \"a\"\nplugins = [\"alarms\"]\n";
    let (name, text) = refused(&format!("{pipeline}[plugin.alarm.grant]\ntables = [\"t\"]\n"));
    assert_eq!(name, "plugin.alarm");
    assert!(text.contains("did you mean alarms?"), "{text}");
    let (name, text) = refused(&format!("{pipeline}[plugin.alarms.grant]\ntable = [\"t\"]\n"));
    assert!(name == "plugin.alarms.grant.table" && text.contains("did you mean tables?"), "{text}");
    let (name, _) = refused(&format!("{pipeline}[plugin.alarms.grant]\nchannels = [\"a b\"]\n"));
    assert_eq!(name, "plugin.alarms.grant.channels[0]");
    let (_, text) = refused(&format!("{pipeline}[plugin.alarms.grant]\ncapabilities = [\"files\"]\n"));
    assert!(text.contains("allowed: state, lookup, log, metrics"), "{text}");
    let (_, text) = refused(&format!("{pipeline}[plugins]\ngrants = \"all\"\n"));
    assert!(text.contains("allowed: listed, open"), "{text}");

    let config = load(&format!("{pipeline}[plugin.alarms]\nconfig = {{ window = 5 }}\n")).unwrap();
    let terms = config.terms("alarms");
    assert_eq!((terms.granted, terms.config.len()), (Granted::Nothing, 1));
    assert_eq!(config.terms("other").granted, Granted::Nothing);
}

#[test]
fn trusted_keys_are_keys_and_to_require_signatures_needs_one() {
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let trusted = |name: &str, key: &str| format!("[[plugins.trusted_key]]\nname = \"{name}\"\nkey = \"{key}\"\n");
    let config = load(&format!("plugins.require_signature = true\n{}", trusted("release", key))).unwrap();
    assert!(config.signatures().required && &*config.signatures().trusted[0].name == "release");
    assert_eq!(refused("plugins.require_signature = true").0, "plugins.require_signature");
    let (name, text) = refused(&trusted("release", &key[1..]));
    assert_eq!(name, "plugins.trusted_key[0].key");
    assert!(text.contains("64 hexadecimal digits"), "{text}");
    assert_eq!(refused(&trusted("a b", key)).0, "plugins.trusted_key[0].name");
    assert_eq!(refused(&trusted("a", key).repeat(2)).0, "plugins.trusted_key[1].name");
}

#[test]
fn a_password_in_an_address_is_never_shown() {
    let unescaped = [
        "postgres://u:a@b/geheim@h/d",
        "postgres://u:12/geheim@h/d",
        "postgres://u:12?geheim@h/d",
        "postgres://u:12#geheim@h/d",
    ];
    let refused = |url: &str| {
        let text = format!("[[source]]\nname = \"a\"\nurl = \"{url}\"");
        Config::from_text(&text, |_| None).unwrap_err().to_string()
    };
    let mode = refused("postgres://u:geheim@h/d?sslmode=no");
    assert!(!mode.contains("geheim") && mode.contains("allowed: disable, "), "{mode}");
    for options in [
        "ssl-mode=require;password=geheim",
        "sslmode=require&sslmode=require;password=geheim",
        "password=ab&geheim",
        "sslmode=require;password=geheim",
        "sslmode=require?password=geheim",
    ] {
        let error = refused(&format!("postgres://u@h/d?{options}"));
        assert!(!error.contains("geheim") && error.contains("the postgres address has "), "{error}");
    }
    for url in ["postgres://u:geheim@h:x/d", "mysql://u:geheim@h/d"].into_iter().chain(unescaped) {
        let error = refused(url);
        assert!(!error.contains("geheim") && error.contains("postgres://USER:PASSWORD@HOST/DATABASE"), "{error}");
        assert!(!url.starts_with("postgres") || error.contains("%2F for /"), "{error}");
    }
}

/// What a section's error lists as allowed is all that can be set in it.
#[test]
fn every_setting_stands_in_the_documentation() {
    let document = include_str!("../../../docs/settings.md");
    for (section, needed) in [
        ("", ""),
        ("[auth]", ""),
        ("[journal]", ""),
        ("[session]", ""),
        ("[gad]", ""),
        ("[notices]", ""),
        ("[page]", ""),
        ("[plugins]", ""),
        ("[plugins.limits]", ""),
        ("[[plugins.trusted_key]]", ""),
        ("[plugin.x]", ""),
        ("[[source]]", "name = 'x'\nurl = 'sqlite:x'"),
        ("[[pipeline]]", "name = 'x'\nplugins = []"),
        ("[[channel]]", "pattern = 'x'"),
    ] {
        let error = load(&format!("{section}\n{needed}\nqqqq = 1\n")).expect_err(section);
        let keys: Vec<&str> = error
            .allowed
            .split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
            .filter(|key| !key.is_empty())
            .collect();
        assert!(keys.len() > 1, "{section}: {error}");
        let is_section =
            |key: &str| document.contains(&format!("[{key}]")) || document.contains(&format!("[{key}.NAME]"));
        for key in keys.into_iter().filter(|key| !["or", "and", "one", "of"].contains(key)) {
            assert!(
                document.contains(&format!("`{key}`")) || is_section(key),
                "{section}: {key} is not in docs/settings.md"
            );
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_called_a_file_and_no_setting() {
    let error = Config::load(Some(std::path::Path::new("nowhere/relevo.toml"))).unwrap_err().to_string();
    assert!(error.starts_with("the file nowhere/relevo.toml: "), "{error}");
    assert!(load("listen = ").unwrap_err().to_string().starts_with("the file (line 1): "));
    assert!(load("listen = 7").unwrap_err().to_string().starts_with("setting listen"));
}

#[test]
fn a_table_is_watched_by_the_name_that_events_have() {
    let watches = |url: &str, tables: &str, table: &str| {
        let source = format!("[[source]]\nname = \"s\"\nurl = \"{url}\"\ntables = {tables}");
        with(&source, &[]).expect("it is right").watches(table)
    };
    for (tables, table, expected) in [
        ("[]", "t", true),
        ("[]", "ventas.t", true),
        ("[]", "public.t", false),
        (r#"["t"]"#, "t", true),
        (r#"["public.t"]"#, "t", true),
        (r#"["public.t"]"#, "public.t", false),
        (r#"["t"]"#, "ventas.t", false),
        (r#"["ventas.t"]"#, "t", false),
        (r#"["ventas.t"]"#, "ventas.t", true),
    ] {
        assert_eq!(watches("postgres://x/y", tables, table), expected, "{tables} {table}");
    }
    assert!(watches("sqlite:x.db", "[]", "public.t"), "SQLite has no schemas: it is a name");
}
