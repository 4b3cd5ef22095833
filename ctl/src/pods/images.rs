//! Images: present, or pulled.

use crate::cri::v1::{Image as CriImage, PodSandboxConfig};
use crate::cri::{Client, CriError};
use crate::manifest::to_cri::Image;
use crate::manifest::{Container, PullPolicy};

/// An image that a container cannot have.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not present, and not to be pulled.
    #[error(
        "image {image} is not present and imagePullPolicy is Never; import it (`ctr -n k8s.io images import`)"
    )]
    Missing {
        /// Its reference.
        image: String,
    },
    /// It cannot be pulled.
    #[error("image {image} is not present and cannot be pulled")]
    Pull {
        /// Its reference.
        image: String,
        /// The runtime's answer.
        #[source]
        source: CriError,
    },
    /// The runtime pulled it and does not know it.
    #[error("image {image} was pulled, and the runtime does not have it")]
    Vanished {
        /// Its reference.
        image: String,
    },
    /// The runtime cannot be asked.
    #[error(transparent)]
    Cri(#[from] CriError),
}

/// Makes sure that a container's image is present, as its pull policy says.
/// `pulling` is told the reference before a pull, which may take long.
///
/// # Errors
/// All of [`ImageError`].
pub async fn ensure_image(
    client: &Client,
    container: &Container,
    sandbox: &PodSandboxConfig,
    pulling: impl FnOnce(&str),
) -> Result<Image, ImageError> {
    let image = container.image.clone();
    let present = client.image_status(&image).await?;
    match (container.image_pull_policy, present) {
        (PullPolicy::IfNotPresent | PullPolicy::Never, Some(found)) => return Ok(facts(found)),
        (PullPolicy::Never, None) => return Err(ImageError::Missing { image }),
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, None) => {}
    }
    pulling(&image);
    if let Err(source) = client.pull_image(&image, sandbox.clone()).await {
        return Err(ImageError::Pull { image, source });
    }
    match client.image_status(&image).await? {
        Some(found) => Ok(facts(found)),
        None => Err(ImageError::Vanished { image }),
    }
}

fn facts(image: CriImage) -> Image {
    Image {
        id: image.id,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
    }
}
