"""What each field of a Module file is for, as editors and `kubectl explain` show it; keys are `Model.fieldName`."""

from typing import Final

DESCRIPTIONS: Final = {
    "Module.apiVersion": "Version of the format.",
    "Module.kind": "Always Module.",
    "Module.metadata": "Name, namespace and labels.",
    "Module.spec": "Which kernel module is wanted where, and from what images.",
    "Metadata.name": "Name of the Module; also part of labels on nodes, where name and namespace share 63 characters.",
    "Metadata.namespace": "Namespace of the Module's DaemonSets, Jobs, ConfigMaps and Secrets.",
    "Metadata.labels": "Labels of the Module; they are not passed on.",
    "Metadata.annotations": "Annotations of the Module; some of them are settings of this project.",
    "ModuleSpec.moduleLoader": "What loads the kernel module.",
    "ModuleSpec.devicePlugin": "A device plugin for nodes on which the kernel module is loaded.",
    "ModuleSpec.imageRepoSecret": "Secret with the registry login for the Module's images (type dockerconfigjson or "
    "dockercfg): to pull them, to check that they exist, and to push those that are built or signed.",
    "ModuleSpec.selector": "Labels that a node must carry, all of them, to get the kernel module.",
    "ModuleSpec.tolerations": "Taints in spite of which a node gets the kernel module, as in a pod.",
    "ModuleLoader.container": "The container that loads the kernel module, and the images for each kernel.",
    "ModuleLoader.serviceAccountName": "ServiceAccount of the loader's pods; without it one is made.",
    "ModuleLoaderContainer.containerImage": "Image for mappings that name none. It may use ${KERNEL_FULL_VERSION}, "
    "${KERNEL_VERSION}, ${KERNEL_XYZ}, ${KERNEL_X}, ${KERNEL_Y}, ${KERNEL_Z}, ${MOD_NAME} and ${MOD_NAMESPACE}.",
    "ModuleLoaderContainer.imagePullPolicy": "When nodes pull the image, as in a pod.",
    "ModuleLoaderContainer.build": "How images are built, for all mappings; a mapping's own build is merged into it.",
    "ModuleLoaderContainer.sign": "How kernel modules are signed, for all mappings; a mapping's own sign is merged "
    "into it.",
    "ModuleLoaderContainer.registryTLS": "How the images' registry is reached, for mappings that do not say it.",
    "ModuleLoaderContainer.inTreeModuleToRemove": "Kernel module to unload before this one is loaded, for mappings "
    "that name none.",
    "ModuleLoaderContainer.kernelMappings": "Images by kernel version. The first mapping that matches a kernel counts; "
    "nodes with a kernel that none matches are left alone.",
    "ModuleLoaderContainer.modprobe": "What is loaded, and how.",
    "ModuleLoaderContainer.version": "Version of the kernel module, for upgrades node by node: only nodes with the "
    "label kmm.node.kubernetes.io/version-module.NAMESPACE.NAME of this value get it.",
    "KernelMapping.literal": "The one kernel version that this mapping is for, as `uname -r` says it, without a "
    "trailing +.",
    "KernelMapping.regexp": "Matches kernel versions anywhere in them (RE2 syntax); anchor it with ^ and $.",
    "KernelMapping.containerImage": "Image with the kernel module for these kernels. It may use the variables "
    "${KERNEL_FULL_VERSION}, ${KERNEL_XYZ}, ${MOD_NAME} and the others of the container's image.",
    "KernelMapping.build": "Builds the image when its registry does not have it.",
    "KernelMapping.sign": "Signs the kernel modules when the registry does not have the signed image.",
    "KernelMapping.registryTLS": "How the image's registry is reached.",
    "KernelMapping.inTreeModuleToRemove": "Kernel module to unload before this one is loaded.",
    "Build.dockerfileConfigMap": "ConfigMap with the Dockerfile under the key dockerfile or Dockerfile.",
    "Build.buildArgs": "Build arguments. KERNEL_VERSION, KERNEL_FULL_VERSION, MOD_NAME and MOD_NAMESPACE are always "
    "given and win.",
    "Build.secrets": "Secrets that RUN steps find as folders below /run/secrets.",
    "Build.baseImageRegistryTLS": "How the registries of the Dockerfile's FROM images are reached.",
    "Build.kanikoParams": "Settings of the builder kaniko; the other builders have no use for them.",
    "Build.selector": "Labels of the nodes that may build; without it the Module's selector.",
    "BuildArg.name": "Name of the build argument.",
    "BuildArg.value": "Value of the build argument.",
    "KanikoParams.tag": "Tag of the kaniko image.",
    "Sign.unsignedImage": "Image to sign, when it is not built here. It may use the variables of containerImage.",
    "Sign.unsignedImageRegistryTLS": "How the registry of the unsigned image is reached.",
    "Sign.certSecret": "Secret with the certificate under the key cert.",
    "Sign.keySecret": "Secret with the private key under the key key.",
    "Sign.filesToSign": "Paths of the kernel modules in the image, with variables and globs; without them all "
    "kernel modules are signed.",
    "TLSOptions.insecure": "Use plain HTTP. Not recommended.",
    "TLSOptions.insecureSkipTLSVerify": "Take any TLS certificate. Not recommended.",
    "LocalObjectReference.name": "Name of the object, in the Module's namespace.",
    "Modprobe.moduleName": "Name of the kernel module, without path and .ko.",
    "Modprobe.dirName": "Folder of the image that holds lib/modules/KERNEL; modprobe gets it as -d. The empty text "
    "stands for no -d.",
    "Modprobe.firmwarePath": "Folder of the image whose files are copied to /var/lib/firmware on the node before the "
    "kernel module is loaded, and removed after it is unloaded.",
    "Modprobe.parameters": "Parameters of the kernel module, such as debug=1.",
    "Modprobe.modulesLoadingOrder": "Kernel modules that belong together, each before the one that it needs loaded "
    "first; moduleName begins the list.",
    "Modprobe.args": "Options of modprobe in place of -v and -rv.",
    "Modprobe.rawArgs": "All arguments of modprobe, in place of moduleName and everything else.",
    "ModprobeArgs.load": "Arguments with which the kernel module is loaded.",
    "ModprobeArgs.unload": "Arguments with which the kernel module is unloaded.",
    "DevicePlugin.container": "The device plugin's container; it is privileged.",
    "DevicePlugin.serviceAccountName": "ServiceAccount of the device plugin's pods; without it one is made.",
    "DevicePlugin.volumes": "Volumes of the device plugin's pods, as in a pod.",
    "DevicePluginContainer.image": "Image of the device plugin.",
    "DevicePluginContainer.imagePullPolicy": "When nodes pull the image, as in a pod.",
    "DevicePluginContainer.command": "Command, as in a pod.",
    "DevicePluginContainer.args": "Arguments of the command, as in a pod.",
    "DevicePluginContainer.env": "Environment variables, as in a pod.",
    "DevicePluginContainer.resources": "Requests and limits, as in a pod.",
    "DevicePluginContainer.volumeMounts": "Where volumes are mounted, as in a pod. The kubelet's folder "
    "/var/lib/kubelet/device-plugins always is.",
    "Toleration.key": "Key of the taint; none, with operator Exists, stands for all taints.",
    "Toleration.operator": "Equal: key and value are those of the taint. Exists: the key is.",
    "Toleration.value": "Value of the taint.",
    "Toleration.effect": "Effect of the taint; none stands for all effects.",
    "Toleration.tolerationSeconds": "How many seconds a NoExecute taint is tolerated; none is for ever.",
}
