//! Replies of the proxy itself: what the server has said of the client's message before that was sent.

use super::client::Lane;
use super::put;
use super::state::Session;
use crate::wire::buffer::Out;
use crate::wire::build;
use crate::wire::tag::{back, front};

impl Session {
    /// The proxy's own look has failed the client's transaction: its error is the reply, and then, as the
    /// server would, nothing until Sync.
    pub(super) fn answer_locally(&mut self, tag: u8, client: &mut Out) -> Lane {
        if let Some(error) = self.local_error.take() {
            self.view_awaited = false;
            super::frame_out(client, back::ERROR, &error);
            if tag == front::QUERY {
                self.ready_locally(client);
            } else {
                self.local_skip = true;
            }
            return Lane::Done;
        }
        match tag {
            front::SYNC => {
                self.local_skip = false;
                self.ready_locally(client);
                Lane::Done
            }
            front::TERMINATE => {
                self.passing(tag, 0);
                Lane::Raw
            }
            _ => Lane::Done,
        }
    }

    fn ready_locally(&mut self, client: &mut Out) {
        put(build::ready(client.as_bytes_mut(), self.status));
        self.client_ready(self.status, true);
    }
}
