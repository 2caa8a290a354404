//! What a genuine server says, and what comes of it.

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;

use super::fake::{Fake, LOGIN};
use crate::murder::client::{Fault, Placed};
use crate::murder::wire::{Entry, Status, shown};

const LIST: &str = "TAG MAILBOX {8+}\r\nuser.joe {16+}\r\nbe1.test!default {0+}\r\n\r\n\
    TAG RESERVE {8+}\r\nuser.bob {11+}\r\nbe2.test!p2\r\nTAG OK \"list complete\"\r\n";

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

#[tokio::test]
async fn a_session_asks_and_reads_and_says_nothing_else() {
    let fake = Fake::start(|mut end| async move {
        end.log_in().await;
        end.answer(LIST).await;
        end.answer(LIST).await;
        end.answer("TAG RESERVE {8+}\r\nuser.bob {4+}\r\nlone\r\nTAG OK \"Search completed\"\r\n")
            .await;
        end.answer("TAG OK \"Search completed\"\r\n").await;
        end.answer("TAG OK \"Noop done\"\r\n").await;
        end.answer("TAG OK \"bye-bye\"\r\n").await;
    })
    .await;
    let mut client = fake.client().await.unwrap();
    assert!(client.banner().is_master() && !client.is_tls());
    for server in [None, Some("be1.test")] {
        let mut list = client.list(server).await.unwrap();
        let mut names = Vec::new();
        while let Some(entry) = list.next().await.unwrap() {
            names.push((shown(entry.name()), matches!(entry, Entry::Reserve { .. })));
        }
        assert_eq!(
            names,
            [("user.joe".into(), false), ("user.bob".into(), true)]
        );
        // The end stays the end.
        assert_eq!(list.next().await.unwrap(), None);
    }
    let found = client.find(&name("user.bob")).await.unwrap();
    let reserved = Placed {
        location: None,
        reserved: true,
    };
    assert_eq!(found, Some(reserved));
    assert_eq!(client.find(&name("user.none")).await.unwrap(), None);
    client.noop().await.unwrap();
    client.logout().await.unwrap();
    let said = [
        LOGIN,
        "2 LIST",
        "3 LIST \"be1.test!\"",
        "4 FIND \"user.bob\"",
        "5 FIND \"user.none\"",
        "6 NOOP",
        "7 LOGOUT",
    ];
    assert_eq!(*fake.heard.lock(), said);
}

#[tokio::test]
async fn a_wrong_password_is_77_and_names_the_user_and_not_the_password() {
    let fake = Fake::start(|mut end| async move {
        end.say(super::fake::BANNER).await;
        end.answer("TAG NO \"undefined error!\"\r\n").await;
    })
    .await;
    let error = fake.client().await.unwrap_err();
    assert_eq!(error.exit(), Exit::Denied);
    assert!(!error.may_pass());
    let text = error.to_string();
    let start = format!(
        "mupdate://127.0.0.1:{}: the mupdate master refuses user mupdateadmin",
        fake.port
    );
    assert!(text.starts_with(&start), "{text}");
    assert!(!text.contains("secret") && !text.contains("AG11"), "{text}");
}

#[tokio::test]
async fn a_list_that_is_refused_or_not_read_to_its_end_is_an_error() {
    let fake = Fake::start(|mut end| async move {
        end.log_in().await;
        end.answer("TAG BAD \"not legal when streaming\"\r\n").await;
        end.answer(LIST).await;
        // Until the client is gone.
        end.hear().await;
    })
    .await;
    let mut client = fake.client().await.unwrap();
    let error = client.list(None).await.unwrap().next().await.unwrap_err();
    let Fault::Answer { status, .. } = *error.fault else {
        panic!("{error}");
    };
    assert_eq!((status, error.exit()), (Status::Bad, Exit::Unavailable));
    assert!(
        client
            .list(None)
            .await
            .unwrap()
            .next()
            .await
            .unwrap()
            .is_some()
    );
    let error = client.noop().await.unwrap_err();
    assert!(matches!(*error.fault, Fault::Unread), "{error}");
    drop(client);
}

#[tokio::test]
async fn changes_come_before_the_end_of_a_noop() {
    let fake = Fake::start(|mut end| async move {
        end.log_in().await;
        end.answer(&LIST.replace("list complete", "streaming starts"))
            .await;
        // Something that came by itself, before the NOOP.
        end.say("2 DELETE {8+}\r\nuser.joe\r\n").await;
        end.hear().await;
        end.say("2 MAILBOX {8+}\r\nuser.bob {6+}\r\nbe1!p2 {0+}\r\n\r\n3 OK \"Noop done\"\r\n")
            .await;
        end.answer("TAG OK \"Noop done\"\r\n").await;
        end.hear().await;
        end.say("2 DELETE {8+}\r\nuser.bob\r\n5 OK \"bye-bye\"\r\n")
            .await;
    })
    .await;
    let mut updates = fake.client().await.unwrap().update().await.unwrap();
    let error = updates.changes(|_| ()).await.unwrap_err();
    assert!(matches!(*error.fault, Fault::Unread), "{error}");
    let mut names = Vec::new();
    while let Some(entry) = updates.next().await.unwrap() {
        names.push(shown(entry.name()));
    }
    assert_eq!(names, ["user.joe", "user.bob"]);
    let mut changes = Vec::new();
    updates
        .changes(|entry| changes.push((shown(entry.name()), entry.location().map(shown))))
        .await
        .unwrap();
    let moved = Some("be1!p2".to_owned());
    assert_eq!(
        changes,
        [("user.joe".into(), None), ("user.bob".into(), moved)]
    );
    updates.changes(|entry| panic!("{entry:?}")).await.unwrap();
    updates.logout().await.unwrap();
    let said = [LOGIN, "2 UPDATE", "3 NOOP", "4 NOOP", "5 LOGOUT"];
    assert_eq!(*fake.heard.lock(), said);
}
