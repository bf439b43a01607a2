//! Each stream message once and in order, whenever a client comes and goes.

use std::collections::BTreeSet;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_and_goes_while_thousands_flow_gets_each_once_in_order() {
    let server = Arc::new(server(|_| {}).await);
    let mut client = server.live(&["tasks", "system"]).await;
    let epoch = server.epoch();
    let writer = tokio::spawn({
        let server = server.clone();
        async move {
            let mut sent = Vec::new();
            for round in 0..400_u64 {
                let channels = ["tasks", "system", "secret"];
                let messages = (0..15).map(|n| {
                    let channel = channels[(n % 3) as usize];
                    (channel, message(channel, ChannelKind::Stream, round * 15 + n))
                });
                let (names, messages): (Vec<_>, Vec<_>) = messages.unzip();
                let last = server.commit(messages).await;
                let first = last + 1 - names.len() as u64;
                sent.extend((first..).zip(names).filter(|(_, name)| *name != "secret").map(|(number, _)| number));
            }
            sent
        }
    });
    let mut got = Vec::new();
    let mut leave_after = 137;
    let sent = loop {
        // Each visit takes a part and leaves in the midst of it.
        while got.len() < leave_after && got.len() < 4000 {
            let value = client.next().await;
            if value["type"] == "test" {
                got.push(value["offset"].as_u64().unwrap());
            }
        }
        if got.len() == 4000 {
            break writer.await.unwrap();
        }
        leave_after += 211;
        drop(client);
        client = server.connect(&["tasks", "system"], Some((&epoch, *got.last().unwrap()))).await;
    };
    assert_eq!(got, sent);
    let last = server.send("tasks", 1).await;
    assert_eq!(client.until("test").await["offset"], last, "nothing comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_comes_before_subscribed_and_nothing_is_missed_after_it() {
    let server = server(|_| {}).await;
    let start = server.send("tasks", 0).await;
    for n in 0..700 {
        server.send("tasks", n).await;
    }
    let mut client = server.connect(&["tasks"], Some((&server.epoch(), start))).await;
    for n in 1..=700 {
        assert_eq!(client.next().await["offset"], start + n);
    }
    let subscribed = client.next().await;
    assert_eq!((&subscribed["type"], &subscribed["offset"]), (&json!("subscribed"), &json!(start + 700)));
    let next = server.send("tasks", 1).await;
    assert_eq!(client.next().await["offset"], next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_client_gets_only_what_is_new() {
    // With one thread: what one client got, the fan-out has behind it for the next.
    let server = server(|settings| settings.fan_out_threads = 1).await;
    let mut witness = server.live(&["tasks"]).await;
    let before = server.send("tasks", 0).await;
    witness.until("test").await;
    let mut client = server.connect(&["tasks"], None).await;
    assert_eq!(
        client.next().await,
        json!({"type": "subscribed", "channel": "tasks", "kind": "stream", "epoch": server.epoch(), "offset": before})
    );
    let new = server.send("tasks", 1).await;
    assert_eq!(client.next().await["offset"], new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscribe_with_its_own_after_brings_recovered_messages_and_keeps_the_order_of_the_rest() {
    let server = Arc::new(server(|_| {}).await);
    let before = server.send("system", 0).await;
    let mut missed = BTreeSet::new();
    for n in 0..300 {
        missed.insert(server.send("system", n).await);
    }
    let mut client = server.live(&["tasks"]).await;
    let writer = tokio::spawn({
        let server = server.clone();
        async move {
            let mut sent = Vec::new();
            for n in 0..300 {
                sent.push(("tasks", server.send("tasks", n).await));
                sent.push(("system", server.send("system", n).await));
            }
            sent
        }
    });
    let after = json!({"epoch": server.epoch(), "offset": before});
    client.say(json!({"id": 5, "type": "subscribe", "channel": "system", "after": after})).await;
    let (mut recovered, mut rising, mut answered) = (BTreeSet::new(), Vec::new(), false);
    while rising.len() + recovered.len() < 900 || !answered {
        let value = client.next().await;
        if value["type"] == "subscribed" {
            assert_eq!((&value["id"], &value["channel"]), (&json!(5), &json!("system")));
            answered = true;
        } else {
            let offset = value["offset"].as_u64().unwrap();
            if value["recovered"] == true {
                assert!(!answered, "what was missed comes before subscribed");
                assert_eq!(value["channel"], "system");
                assert!(recovered.insert(offset), "twice");
            } else {
                rising.push(offset);
            }
        }
    }
    let sent = writer.await.unwrap();
    assert!(rising.is_sorted_by(|a, b| a < b), "live messages stay in order");
    let tasks: Vec<u64> = sent.iter().filter(|(c, _)| *c == "tasks").map(|(_, n)| *n).collect();
    assert!(tasks.iter().all(|n| rising.contains(n)));
    missed.extend(sent.iter().filter(|(c, _)| *c == "system").map(|(_, n)| *n));
    let system: BTreeSet<u64> = recovered.iter().chain(&rising).copied().filter(|n| !tasks.contains(n)).collect();
    assert_eq!(system, missed);
    assert_eq!(recovered.len() + rising.len(), 900, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_after_that_can_not_be_honoured_is_a_gap() {
    let server = server(|_| {}).await;
    let here = server.send("tasks", 0).await;
    for (after, reason) in [(("another", here), "epoch"), ((&*server.epoch(), here + 1000), "beyond_head")] {
        let mut client = server.connect(&["tasks"], Some(after)).await;
        let gap = client.next().await;
        assert_eq!((&gap["type"], &gap["reason"], &gap["offset"]), (&json!("gap"), &json!(reason), &json!(here)));
        assert_eq!(client.next().await["type"], "subscribed");
    }
    let mut client = server.live(&[]).await;
    let after = json!({"epoch": "another", "offset": 1});
    client.say(json!({"id": 1, "type": "subscribe", "channel": "tasks", "after": after})).await;
    let gap = client.next().await;
    assert_eq!((&gap["type"], &gap["channel"], &gap["reason"]), (&json!("gap"), &json!("tasks"), &json!("epoch")));
    assert_eq!(client.next().await["type"], "subscribed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_lost_something_is_a_gap_for_who_is_there_and_for_who_resumes_across_it() {
    let server = server(|_| {}).await;
    let start = server.send("tasks", 0).await;
    let mut live = server.live(&["tasks"]).await;
    let first = server.send("tasks", 1).await;
    let lost = server.gap("the file was restored").await;
    // Enough that a resuming session has to read the journal itself, in several pages.
    let fill = format!("\"{}\"", "x".repeat(1000));
    let mut after = Vec::new();
    for n in 0..600 {
        let large = Message { data: fill.as_str().into(), ..message("tasks", ChannelKind::Stream, n) };
        after.push(server.commit(vec![large]).await);
    }
    let expected = |client: Vec<Value>| {
        let numbers: Vec<u64> = client.iter().map(|v| v["offset"].as_u64().unwrap()).collect();
        let gaps: Vec<&Value> = client.iter().filter(|v| v["type"] == "gap").collect();
        assert_eq!(numbers, [&[first, lost], &after[..]].concat());
        assert_eq!((gaps.len(), &gaps[0]["offset"]), (1, &json!(lost)));
        assert_eq!(gaps[0]["detail"], "the file was restored");
    };
    let mut said = Vec::new();
    while said.len() < 602 {
        said.push(live.next().await);
    }
    expected(said);
    let mut back = server.connect(&["tasks"], Some((&server.epoch(), start))).await;
    let mut said = Vec::new();
    loop {
        let value = back.next().await;
        if value["type"] == "subscribed" {
            break;
        }
        said.push(value);
    }
    expected(said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_channel_comes_after_unsubscribed() {
    let server = Arc::new(server(|_| {}).await);
    let mut client = server.live(&["tasks"]).await;
    let writer = tokio::spawn({
        let server = server.clone();
        async move {
            for n in 0..200 {
                server.send("tasks", n).await;
            }
        }
    });
    client.until("test").await;
    client.say(json!({"id": 1, "type": "unsubscribe", "channel": "tasks"})).await;
    client.until("unsubscribed").await;
    writer.await.unwrap();
    assert_eq!(client.ask(json!({"type": "subscribe", "channel": "system"})).await["type"], "subscribed");
    server.send("tasks", 1).await;
    let last = server.send("system", 1).await;
    assert_eq!(client.next().await["offset"], last);
    let again = client.ask(json!({"id": 2, "type": "unsubscribe", "channel": "tasks"})).await;
    assert_eq!(again["name"], "not_subscribed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_frame_is_encoded_for_all_and_users_get_their_own_channels() {
    let server = server(|_| {}).await;
    let mut clients = [server.live(&["tasks"]).await, server.live(&["tasks"]).await];
    let number =
        server.commit(vec![message("user:7", ChannelKind::Stream, 1), message("tasks", ChannelKind::Stream, 2)]).await;
    for client in &mut clients {
        assert_eq!(client.next().await["channel"], "user:7");
        assert_eq!(client.next().await["offset"], number);
    }
    let records = server.context.journal.read_memory(Number(number - 1), 1 << 20).unwrap();
    let crate::journal::RecordBody::Commit(commit) = &records[0].body else { panic!("no commit") };
    for message in &commit.messages {
        message.frames.get_or_encode(crate::message::Dialect::Native, || panic!("the shared frame was not used"));
    }
}
