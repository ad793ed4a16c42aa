"""Text of Module files for tests."""

MINIMAL = """\
apiVersion: kmm.sigs.x-k8s.io/v1beta1
kind: Module
metadata:
  name: my-kmod
spec:
  moduleLoader:
    container:
      modprobe:
        moduleName: my_kmod
      kernelMappings:
        - literal: 6.0.15-300.fc37.x86_64
          containerImage: registry.example/my-kmod:6.0.15-300.fc37.x86_64
  selector:
    node-role.kubernetes.io/worker: ""
"""

# Every field of the API, with values that the operator accepts.
FULL = r"""
apiVersion: kmm.sigs.x-k8s.io/v1beta1
kind: Module
metadata:
  name: my-kmod
  namespace: drivers
  labels: {team: storage}
  annotations: {example.com/note: any text}
  uid: 7f3a
  resourceVersion: "12"
  generation: 3
  creationTimestamp: "2026-01-01T00:00:00Z"
  managedFields: [{manager: kubectl}]
spec:
  moduleLoader:
    container:
      containerImage: registry.example:5000/my-kmod:${KERNEL_FULL_VERSION}
      imagePullPolicy: Always
      version: "1.2"
      inTreeModuleToRemove: in_tree
      registryTLS: {insecure: false, insecureSkipTLSVerify: false}
      build:
        dockerfileConfigMap: {name: dockerfile}
        buildArgs: [{name: A, value: ""}]
        secrets: [{name: build-secret}]
        baseImageRegistryTLS: {insecure: false, insecureSkipTLSVerify: false}
        kanikoParams: {tag: v1.9.0}
        selector: {build: "true"}
      sign:
        certSecret: {name: cert}
        keySecret: {name: key}
        unsignedImage: registry.example/unsigned:$KERNEL_VERSION
        unsignedImageRegistryTLS: {insecure: false}
        filesToSign: ["/opt/lib/modules/${KERNEL_FULL_VERSION}/my_kmod.ko"]
      modprobe:
        moduleName: my_kmod
        dirName: /opt
        firmwarePath: /firmware
        parameters: [debug=1]
        modulesLoadingOrder: [my_kmod, my_dependency]
        args: {load: [-v], unload: [-r]}
      kernelMappings:
        - literal: 6.0.15-300.fc37.x86_64
          containerImage: ""
        - regexp: ^.+\.x86_64$
          containerImage: registry.example/other:${KERNEL_XYZ}
          inTreeModuleToRemove: other
          registryTLS: {insecure: false}
          build: {dockerfileConfigMap: {name: other}}
          sign: {certSecret: {name: cert}, keySecret: {name: key}}
    serviceAccountName: loader
  devicePlugin:
    container:
      image: registry.example/plugin:v1
      imagePullPolicy: IfNotPresent
      command: [/plugin]
      args: [--verbose]
      env:
        - {name: PLAIN, value: "1"}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: KEY, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
      resources: {limits: {cpu: 1, memory: 128Mi}, requests: {cpu: 500m}}
      volumeMounts:
        - {name: settings, mountPath: /etc/plugin, readOnly: true}
        - {name: kubelet-device-plugins, mountPath: /again}
    serviceAccountName: plugin
    volumes:
      - {name: settings, configMap: {name: settings, items: [{key: a, path: b}]}}
      - {name: devices, hostPath: {path: /dev, type: Directory}}
      - {name: scratch, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
      - {name: driver, csi: {driver: example.com}}
  imageRepoSecret: {name: pull}
  selector: {node-role.kubernetes.io/worker: ""}
  tolerations:
    - {key: dedicated, operator: Equal, value: gpu, effect: NoSchedule}
    - {key: slow, operator: Exists, effect: NoExecute, tolerationSeconds: 60}
    - {operator: Exists}
status:
  moduleLoader: {desiredNumber: 1}
"""
