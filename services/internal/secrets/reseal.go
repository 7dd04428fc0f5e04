package secrets

import (
	"context"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/db"
)

// Reseal seals every version of every secret of a database with the newest key,
// and says how many there were. It needs the rights of the schema's owner.
func Reseal(ctx context.Context, url string, keys *Keyring) (int, error) {
	return db.ResealSecrets(ctx, url, func(row db.SealedAfterRow) ([]byte, error) {
		value, err := keys.Open(nameOf(row), row.Sealed)
		if err != nil {
			return nil, err
		}
		return keys.Seal(nameOf(row), value)
	})
}

// Prune removes all keys but the newest from a key file, unless a secret of the
// database still needs one. It needs the rights of the schema's owner.
func Prune(ctx context.Context, url, path string) (Info, error) {
	return prune(path, func(only *Keyring) error {
		return db.EachSecret(ctx, url, func(row db.SealedAfterRow) error {
			if _, err := only.Open(nameOf(row), row.Sealed); err != nil {
				return fmt.Errorf("secret %s of %s still needs an older key → api secret-key reseal", row.Name, row.Namespace)
			}
			return nil
		})
	})
}

func nameOf(row db.SealedAfterRow) Name {
	return Name{Namespace: row.Namespace, Name: row.Name, Version: row.Version}
}
