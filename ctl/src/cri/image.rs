//! Calls about images.

use super::client::{CALL, call, timed};
use super::v1::{
    Image, ImageFilter, ImageSpec, ImageStatusRequest, ListImagesRequest, PodSandboxConfig,
    PullImageRequest, RemoveImageRequest,
};
use super::{Client, CriError};

impl Client {
    /// The image that `reference` names, or None where it is not present.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn image_status(&self, reference: &str) -> Result<Option<Image>, CriError> {
        let request = ImageStatusRequest {
            image: Some(image_spec(reference)),
            verbose: false,
        };
        let mut api = self.images.clone();
        let answer = call(
            "ImageStatus",
            reference,
            api.image_status(timed(request, CALL)),
        );
        Ok(answer.await?.image)
    }

    /// Pulls an image and returns the reference under which the runtime knows
    /// it. There is no time limit: how long it takes is the registry's affair.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn pull_image(
        &self,
        reference: &str,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = PullImageRequest {
            image: Some(image_spec(reference)),
            auth: None,
            sandbox_config: Some(sandbox_config),
        };
        let mut api = self.images.clone();
        Ok(call("PullImage", reference, api.pull_image(request))
            .await?
            .image_ref)
    }

    /// All images.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn list_images(&self) -> Result<Vec<Image>, CriError> {
        let request = ListImagesRequest {
            filter: Some(ImageFilter::default()),
        };
        let mut api = self.images.clone();
        Ok(
            call("ListImages", "", api.list_images(timed(request, CALL)))
                .await?
                .images,
        )
    }

    /// Removes an image; a missing one is no error.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn remove_image(&self, reference: &str) -> Result<(), CriError> {
        let request = RemoveImageRequest {
            image: Some(image_spec(reference)),
        };
        let mut api = self.images.clone();
        call(
            "RemoveImage",
            reference,
            api.remove_image(timed(request, CALL)),
        )
        .await?;
        Ok(())
    }
}

fn image_spec(reference: &str) -> ImageSpec {
    ImageSpec {
        image: reference.to_owned(),
        ..Default::default()
    }
}
