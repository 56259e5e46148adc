// SPDX-License-Identifier: GPL-2.0

#include <linux/scatterlist.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#if IS_BUILTIN(CONFIG_VIRTIO)
__rust_helper bool rust_helper_virtio_test_bit(const struct virtio_device *vdev,
					       unsigned int bit)
{
	return __virtio_test_bit(vdev, bit);
}

__rust_helper void rust_helper_virtio_read_config(struct virtio_device *vdev,
						  unsigned int offset,
						  void *value, size_t bytes)
{
	__virtio_cread_many(vdev, offset, value, 1, bytes);
}

__rust_helper void rust_helper_virtio_device_ready(struct virtio_device *vdev)
{
	virtio_device_ready(vdev);
}

__rust_helper int rust_helper_virtio_find_vqs(struct virtio_device *vdev,
					      unsigned int count,
					      struct virtqueue **vqs,
					      struct virtqueue_info *infos)
{
	return virtio_find_vqs(vdev, count, vqs, infos, NULL);
}

__rust_helper void rust_helper_virtio_del_vqs(struct virtio_device *vdev)
{
	vdev->config->del_vqs(vdev);
}

/* The device reads the first part of the buffer, and writes the second. */
__rust_helper int rust_helper_virtqueue_add_buffer(struct virtqueue *vq,
						   void *buffer,
						   unsigned int readable,
						   unsigned int writable,
						   void *token)
{
	struct scatterlist out, in;
	struct scatterlist *sgs[2];
	unsigned int outs = 0, ins = 0;

	if (readable) {
		sg_init_one(&out, buffer, readable);
		sgs[outs++] = &out;
	}
	if (writable) {
		sg_init_one(&in, buffer + readable, writable);
		sgs[outs + ins++] = &in;
	}
	return virtqueue_add_sgs(vq, sgs, outs, ins, token, GFP_ATOMIC);
}
#endif
