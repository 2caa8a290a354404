//! Servers that are slow, broken, or none.

use std::time::Duration;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;

use super::fake::{AUTHENTICATED, BANNER, Fake, impatient};
use crate::login::LinkError;
use crate::murder::client::{Client, Fault, MurderError};

const LIST: &str = "2 MAILBOX {8+}\r\nuser.joe {16+}\r\nbe1.test!default {4+}\r\na\tl\t\r\n\
    2 OK \"list complete\"\r\n";

/// Logs in and reads the list; how many entries it had.
async fn listed(settings: &crate::murder::client::Settings) -> Result<u32, MurderError> {
    let mut client = Client::connect(settings).await?;
    let mut list = client.list(None).await?;
    let mut entries = 0;
    while list.next().await?.is_some() {
        entries += 1;
    }
    Ok(entries)
}

#[tokio::test]
async fn a_connection_that_ends_anywhere_is_an_error_and_never_a_shorter_list() {
    let whole = [BANNER, AUTHENTICATED, LIST].concat();
    for end in 0..whole.len() {
        let said = whole.as_bytes()[..end].to_vec();
        let fake = Fake::saying(said, true).await;
        let error = listed(&fake.settings()).await.unwrap_err();
        let closed = matches!(
            *error.fault,
            Fault::Link(LinkError::Closed { .. } | LinkError::Io { .. })
        );
        assert!(closed && error.may_pass(), "after {end} bytes: {error}");
        assert_eq!(error.exit(), Exit::Unavailable);
    }
    let fake = Fake::start(|mut end| async move {
        end.log_in().await;
        end.answer(LIST).await;
    })
    .await;
    assert_eq!(listed(&fake.settings()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_more_anywhere_is_given_up() {
    let whole = [BANNER, AUTHENTICATED, LIST].concat();
    for end in (0..whole.len()).step_by(40) {
        let said = whole.as_bytes()[..end].to_vec();
        let fake = Fake::saying(said, false).await;
        let mut settings = fake.settings();
        settings.timeouts = impatient();
        let error = listed(&settings).await.unwrap_err();
        let late = matches!(*error.fault, Fault::Link(LinkError::Timeout { .. }));
        assert!(late && error.may_pass(), "after {end} bytes: {error}");
    }
}

#[tokio::test]
async fn a_list_that_comes_in_drops_has_an_end_all_the_same() {
    let fake = Fake::start(|mut end| async move {
        end.log_in().await;
        end.hear().await;
        for _ in 0..200 {
            end.say("2 RESERVE {1+}\r\na {3+}\r\nb!c\r\n").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut settings = fake.settings();
    // Between two entries there is time; for all of them there is not.
    settings.timeouts.list = Duration::from_millis(500);
    let error = listed(&settings).await.unwrap_err();
    let Fault::Link(LinkError::Timeout { limit, .. }) = *error.fault else {
        panic!("{error}");
    };
    assert_eq!(limit, settings.timeouts.list);
}

#[tokio::test]
async fn what_is_no_mupdate_server_is_shown_escaped() {
    for (said, text) in [
        (
            "* OK [CAPABILITY IMAP4rev1] imap.test Cyrus IMAP ready\r\n",
            "it does not speak MUPDATE; in the answer to the banner is a line that is no answer: \
             \"* OK [CAPABILITY IMAP4rev1]",
        ),
        (
            "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
            "it does not speak MUPDATE",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "it does not speak MUPDATE",
        ),
        ("220 smtp.test ESMTP\r\n", "it does not speak MUPDATE"),
        ("\x1b]0;evil\x07\r\n", "it does not speak MUPDATE"),
        (
            "* BYE \"go away\x1b\"\r\n",
            "it closes the connection during the banner: go away\\x1b",
        ),
        (
            "1 OK \"too early\"\r\n",
            "what it answers to the banner does not belong there",
        ),
        (
            "\r\n",
            "what it answers to the banner does not belong there",
        ),
    ] {
        let fake = Fake::saying(said, false).await;
        let text = format!("mupdate://127.0.0.1:{}: {text}", fake.port);
        let error = fake.client().await.unwrap_err();
        assert!(error.to_string().starts_with(&text), "{error}");
        assert!(!error.to_string().contains('\x1b'), "{error}");
        assert_eq!(error.exit(), Exit::Unavailable);
    }
}

#[tokio::test]
async fn what_has_no_end_is_cut_off() {
    for (beginning, piece, text) in [
        ("", "x", "a line of more than 8192 bytes"),
        ("", "* AUTH\r\n", "capabilities without end"),
        ("* ", "a ", "a line of more than 64 words"),
        (
            "* AUTH {99999999999+}\r\n",
            "x",
            "a literal of 99999999999 bytes",
        ),
    ] {
        let fake = Fake::start(move |mut end| async move {
            end.say(beginning).await;
            // More than fits into the buffers of a socket: the client has to hang up.
            for _ in 0..2000 {
                end.say(piece.repeat(4096 / piece.len())).await;
            }
        })
        .await;
        let error = fake.client().await.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn answers_that_do_not_belong_to_the_command_are_refused() {
    for said in [
        // A challenge, as after a broken initial response: there is nothing more to say.
        "\r\n",
        "7 OK \"of another command\"\r\n",
        "1 MAILBOX {1+}\r\na {3+}\r\nb!c {0+}\r\n\r\n",
        "* AUTH \"PLAIN\"\r\n",
    ] {
        let fake = Fake::saying([BANNER, said].concat(), false).await;
        let error = fake.client().await.unwrap_err();
        assert!(
            matches!(*error.fault, Fault::Unexpected { .. }),
            "{said:?}: {error}"
        );
    }
    let joe = MailboxName::parse("user.joe").unwrap();
    for said in [
        "2 RESERVE {8+}\r\nuser.bob {3+}\r\nb!c\r\n",
        "2 DELETE {8+}\r\nuser.joe\r\n",
        "3 RESERVE {8+}\r\nuser.joe {3+}\r\nb!c\r\n",
        "2 RESERVE {8+}\r\nuser.joe {3+}\r\nb!c\r\n2 RESERVE {8+}\r\nuser.joe {3+}\r\nb!d\r\n",
    ] {
        let said = [BANNER, AUTHENTICATED, said, "2 OK \"done\"\r\n"].concat();
        let fake = Fake::saying(said.clone(), false).await;
        let mut client = fake.client().await.unwrap();
        let error = client.find(&joe).await.unwrap_err();
        assert!(
            matches!(*error.fault, Fault::Unexpected { .. }),
            "{said:?}: {error}"
        );
        // And nothing more is asked here.
        let error = client.noop().await.unwrap_err();
        assert!(matches!(*error.fault, Fault::Unread), "{error}");
    }
}
