//! Every error and every close code: its number, its name, and what a client does about it.
//!
//! The names and numbers are part of the protocol and never change their meaning.

/// What a client does after its connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Connect again at once, with `after`.
    Resume,
    /// Wait (1 s, doubled each time up to 30 s, with jitter), then connect again with `after`.
    Wait,
    /// Get a new token, then connect again with `after`.
    NewToken,
    /// Don't connect again by itself: the same would happen.
    Stop,
}

macro_rules! closes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $then:ident;)*) => {
        /// Why the server closes a connection. 1000–2999 are RFC 6455's own. Of ours, 4000–4499 say
        /// "come back", 4500–4999 "don't".
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Close { $($(#[$doc])* $name,)* }
        impl Close {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            pub const fn number(self) -> u16 { match self { $(Self::$name => $number,)* } }
            /// The close frame's reason.
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text,)* } }
            pub const fn then(self) -> Then { match self { $(Self::$name => Then::$then,)* } }
        }
    };
}

closes! {
    /// The answer to a client that closed.
    Normal = 1000, "normal", Stop;
    /// Not WebSocket: an unmasked or reserved frame, a fragmented control frame, a bad length.
    Protocol = 1002, "protocol_error", Stop;
    /// A binary message; the protocol is text.
    Binary = 1003, "binary_not_supported", Stop;
    /// A text message that is not UTF-8.
    NotUtf8 = 1007, "invalid_utf8", Stop;
    /// A message over `session.message_bytes`.
    TooLarge = 1009, "message_too_large", Stop;
    /// The server stops or restarts.
    Shutdown = 4000, "shutdown", Wait;
    /// More waited for this client than `session.outbox_bytes`. Nothing is lost: what was not sent
    /// comes after the reconnect.
    Slow = 4001, "slow_consumer", Resume;
    /// Nothing came within `session.pong_within` after a ping.
    Silent = 4002, "silent", Resume;
    /// `session.max_connections` are connected already.
    Full = 4003, "too_many_connections", Wait;
    /// No `connect` within `session.hello_within`.
    HelloTimeout = 4004, "hello_timeout", Wait;
    /// The token's time ended.
    TokenExpired = 4005, "token_expired", NewToken;
    /// The server failed; its log says why.
    Internal = 4006, "internal", Wait;
    /// The token is missing, was not made by whom this server trusts, or is not valid yet.
    Unauthorized = 4500, "unauthorized", Stop;
    /// The first message is no `connect`, or `after` or a channel's name in it can't be read.
    BadHello = 4501, "bad_connect", Stop;
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a command was not carried out. The connection stays.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }
        impl ErrorCode {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            pub const fn number(self) -> u16 { match self { $(Self::$name => $number,)* } }
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text,)* } }
        }
    };
}

errors! {
    /// The server failed; try the command again later.
    Internal = 100, "internal";
    /// Not a JSON object with a text `type`. A bug in the client.
    BadJson = 101, "bad_json";
    /// No such `type`. A bug in the client, or a newer protocol.
    UnknownCommand = 102, "unknown_command";
    /// A field is missing, or is not what it should be; the message names it.
    BadCommand = 103, "bad_command";
    /// No text of 1 to 128 bytes of letters, digits and `: . _ - /`.
    BadChannel = 104, "bad_channel";
    /// This user may not do that there, or there is no such channel. Don't try again with this token.
    Forbidden = 105, "forbidden";
    /// The session has the channel.
    AlreadySubscribed = 106, "already_subscribed";
    /// The session doesn't have the channel, or it is one of its own that it can't leave.
    NotSubscribed = 107, "not_subscribed";
    /// `session.max_subscriptions` reached; unsubscribe first.
    TooManySubscriptions = 108, "too_many_subscriptions";
    /// Too many commands wait for their answer; send the next when one is answered.
    TooManyCommands = 109, "too_many_commands";
    /// `connect` is the first message only, and only where the request brought no token.
    AlreadyConnected = 110, "already_connected";
    /// The publication was not taken in; the message says why.
    NotPublished = 111, "not_published";
    /// The token was refused; the message says why. The connection is closed with 4500 or 4005.
    Unauthorized = 112, "unauthorized";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_number_and_name() {
        let numbers: BTreeSet<u16> = Close::ALL.iter().map(|c| c.number()).collect();
        let names: BTreeSet<&str> = Close::ALL.iter().map(|c| c.name()).collect();
        assert_eq!((numbers.len(), names.len()), (Close::ALL.len(), Close::ALL.len()));
        let numbers: BTreeSet<u16> = ErrorCode::ALL.iter().map(|c| c.number()).collect();
        let names: BTreeSet<&str> = ErrorCode::ALL.iter().map(|c| c.name()).collect();
        assert_eq!((numbers.len(), names.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len()));
    }

    #[test]
    fn a_close_code_says_by_its_range_whether_to_come_back() {
        for close in Close::ALL {
            let back = (4000..4500).contains(&close.number());
            assert_eq!(back, close.then() != Then::Stop, "{}", close.name());
        }
    }

    #[test]
    fn the_protocol_page_lists_every_code() {
        let page = include_str!("../../../docs/protocol.md");
        let row = |number: u16, name: &str| format!("| {number} | `{name}` |");
        for close in Close::ALL {
            assert!(page.contains(&row(close.number(), close.name())), "{}", close.name());
        }
        for error in ErrorCode::ALL {
            assert!(page.contains(&row(error.number(), error.name())), "{}", error.name());
        }
    }
}
