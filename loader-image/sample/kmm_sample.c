// SPDX-License-Identifier: GPL-2.0
/* A character device that reads as a greeting. Held open, it keeps the module in the kernel. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/device.h>
#include <linux/firmware.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/string.h>

#include "kmm_sample_base.h"

#define FIRMWARE_NAME "kmm_sample.bin"

static char *greeting = "hello";
module_param(greeting, charp, 0444);
MODULE_PARM_DESC(greeting, "Text that /dev/kmm_sample holds");

static bool firmware_required;
module_param(firmware_required, bool, 0444);
MODULE_PARM_DESC(firmware_required, "Refuse to load without " FIRMWARE_NAME);

static ssize_t greeting_read(struct file *file, char __user *buffer, size_t size, loff_t *position)
{
	return simple_read_from_buffer(buffer, size, position, greeting, strlen(greeting));
}

static const struct file_operations greeting_operations = {
	.owner = THIS_MODULE,
	.read = greeting_read,
	.llseek = default_llseek,
};

static struct miscdevice greeting_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KBUILD_MODNAME,
	.mode = 0444,
	.fops = &greeting_operations,
};

/* The direct request asks no user-space helper, so that a missing file is an answer and not a wait. */
static int report_firmware(struct device *device)
{
	const struct firmware *firmware;
	int error = request_firmware_direct(&firmware, FIRMWARE_NAME, device);

	if (error) {
		pr_warn("no firmware %s (error %d)\n", FIRMWARE_NAME, error);
		return error;
	}
	pr_info("firmware %s: %zu bytes, checksum %08x\n", FIRMWARE_NAME, firmware->size,
		kmm_sample_checksum(firmware->data, firmware->size));
	release_firmware(firmware);
	return 0;
}

static int __init kmm_sample_init(void)
{
	int error = misc_register(&greeting_device);

	if (error)
		return error;
	error = report_firmware(greeting_device.this_device);
	if (error && firmware_required) {
		misc_deregister(&greeting_device);
		return error;
	}
	pr_info("loaded, greeting \"%s\"\n", greeting);
	return 0;
}

static void __exit kmm_sample_exit(void)
{
	misc_deregister(&greeting_device);
	pr_info("unloaded\n");
}

module_init(kmm_sample_init);
module_exit(kmm_sample_exit);

MODULE_DESCRIPTION("Sample of an out-of-tree module: dependency, parameter, firmware, device");
MODULE_LICENSE("GPL");
MODULE_FIRMWARE(FIRMWARE_NAME);
