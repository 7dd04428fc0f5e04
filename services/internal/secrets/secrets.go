// Package secrets seals the values of secrets with a key that the database never sees, and opens them again.
//
// A value is encrypted with a key of its own, and that key with the newest of the
// keys in the key file; both with AES-256-GCM, and bound to the secret's full
// name and version, so that what is stored under one name opens under no other.
package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/synthesizer-dev/synthesizer/services/internal/private"
)

// MaxValue is how many bytes a value may have.
const MaxValue = 64 << 10

// ErrNoKey is why nothing can be sealed or opened where no key file is set.
var ErrNoKey = errors.New("this service has no key for secrets")

// KeyHint says how a service comes by its key.
const KeyHint = "make one with api secret-key create, and set SYN_SECRET_KEY_FILE for the api and the executors"

// A Name names one version of a secret.
type Name struct {
	Namespace, Name string
	Version         int32
}

// bound is what a sealed value is bound to. None of its parts holds a slash or a
// colon, so two names never give the same.
func (n Name) bound() []byte {
	return fmt.Appendf(nil, "synthesizer secret:%s/%s:%d", n.Namespace, n.Name, n.Version)
}

// A Keyring seals and opens with the keys of a file. It reads the file when it
// needs it, and again when it has changed; so a file that is missing, or wrong,
// stands in the way of secrets and of nothing else. It may be used by many
// goroutines.
type Keyring struct {
	get func() (keys, error) // nil: no file is set
}

// keys are the content of a key file, ready for use.
type keys struct {
	envelope tink.AEAD
	info     Info
}

// Info tells the keys of a file apart, without what they are.
type Info struct {
	Primary uint32
	Older   []uint32
}

// maxFile is far more than a thousand rotations take.
const maxFile = 1 << 20

// New is the keyring of a key file; "" is none.
func New(path string) *Keyring {
	if path == "" {
		return &Keyring{}
	}
	return &Keyring{get: private.New("the key file", path, maxFile, parse).Get}
}

// ofHandle is the keyring of keys that are in no file.
func ofHandle(handle *keyset.Handle) (*Keyring, error) {
	have, err := ready(handle)
	return &Keyring{get: func() (keys, error) { return have, nil }}, err
}

func (k *Keyring) keys() (keys, error) {
	if k == nil || k.get == nil {
		return keys{}, ErrNoKey
	}
	return k.get()
}

// Check says why nothing could be sealed or opened now, or nil.
func (k *Keyring) Check() error {
	_, err := k.keys()
	return err
}

// Info tells which keys there are.
func (k *Keyring) Info() (Info, error) {
	have, err := k.keys()
	return have.info, err
}

// Seal encrypts a value with the newest key.
func (k *Keyring) Seal(name Name, value string) ([]byte, error) {
	have, err := k.keys()
	if err != nil {
		return nil, err
	}
	sealed, err := have.envelope.Encrypt([]byte(value), name.bound())
	if err != nil {
		return nil, fmt.Errorf("seal a secret: %w", err)
	}
	return sealed, nil
}

// Open decrypts what Seal made with any of the keys.
func (k *Keyring) Open(name Name, sealed []byte) (string, error) {
	have, err := k.keys()
	if err != nil {
		return "", err
	}
	value, err := have.envelope.Decrypt(sealed, name.bound())
	if err != nil {
		// Why is not told: it would be about bytes.
		return "", fmt.Errorf("version %d of secret %s of %s opens with no key of the key file", name.Version, name.Name, name.Namespace)
	}
	return string(value), nil
}

// parse reads a key file. Its errors quote nothing of it.
func parse(data []byte) (keys, error) {
	handle, err := read(data)
	if err != nil {
		return keys{}, err
	}
	return ready(handle)
}

func ready(handle *keyset.Handle) (keys, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return keys{}, errNotKeys
	}
	return keys{envelope: aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), primitive), info: infoOf(handle)}, nil
}

var errNotKeys = errors.New("holds no keys as api secret-key create makes them")

func read(data []byte) (*keyset.Handle, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return nil, errNotKeys
	}
	return handle, nil
}

func write(handle *keyset.Handle) ([]byte, error) {
	var b strings.Builder
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("write keys: %w", err)
	}
	return []byte(b.String() + "\n"), nil
}

func infoOf(handle *keyset.Handle) Info {
	all := handle.KeysetInfo()
	info := Info{Primary: all.GetPrimaryKeyId()}
	for _, key := range all.GetKeyInfo() {
		if id := key.GetKeyId(); id != info.Primary {
			info.Older = append(info.Older, id)
		}
	}
	return info
}
