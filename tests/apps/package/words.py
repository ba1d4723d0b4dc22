"""What `package.site` imports beside itself."""

HELLO = b"hello from a package"
