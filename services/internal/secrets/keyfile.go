package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Create makes a key file with one new key, readable for its owner alone, or
// for a group too. One that is there already is left as it is: created is false.
func Create(path string, group bool) (created bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		return false, nil
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return false, fmt.Errorf("draw a key: %w", err)
	}
	data, err := write(handle)
	if err != nil {
		return false, err
	}
	mode := fs.FileMode(0o600)
	if group {
		mode = 0o640
	}
	temp, err := beside(path, data, mode)
	if err != nil {
		return false, err
	}
	defer os.Remove(temp)
	// A link never replaces: whoever is first has made it.
	if err := os.Link(temp, path); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("make the key file: %w", err)
	}
	return true, syncDir(path)
}

// Rotate adds a new key to a file: from now on it seals. What the older ones have
// sealed still opens.
func Rotate(path string) (Info, error) {
	return change(path, func(m *keyset.Manager, _ Info) error {
		id, err := m.Add(aead.AES256GCMKeyTemplate())
		if err != nil {
			return fmt.Errorf("draw a key: %w", err)
		}
		return m.SetPrimary(id)
	})
}

// prune removes all keys but the newest. allowed is asked with a keyring that has
// that one alone, while nobody else changes the file.
func prune(path string, allowed func(*Keyring) error) (Info, error) {
	return change(path, func(m *keyset.Manager, now Info) error {
		for _, id := range now.Older {
			if err := m.Delete(id); err != nil {
				return fmt.Errorf("remove key %d: %w", id, err)
			}
		}
		handle, err := m.Handle()
		if err != nil {
			return err
		}
		only, err := ofHandle(handle)
		if err != nil {
			return err
		}
		return allowed(only)
	})
}

// change replaces a key file by a changed one, with the same owner and mode. Of
// several who change it at once each sees what the one before did.
func change(path string, how func(*keyset.Manager, Info) error) (Info, error) {
	unlock, err := lockDir(path)
	if err != nil {
		return Info{}, err
	}
	defer unlock()
	info, err := os.Stat(path)
	if err != nil {
		return Info{}, fmt.Errorf("read the key file: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Info{}, fmt.Errorf("read the key file: %w", err)
	}
	handle, err := read(data)
	if err != nil {
		return Info{}, fmt.Errorf("the key file %s: %w", path, err)
	}
	m := keyset.NewManagerFromHandle(handle)
	if err := how(m, infoOf(handle)); err != nil {
		return Info{}, err
	}
	if handle, err = m.Handle(); err != nil {
		return Info{}, fmt.Errorf("change the keys: %w", err)
	}
	if data, err = write(handle); err != nil {
		return Info{}, err
	}
	temp, err := beside(path, data, info.Mode().Perm())
	if err != nil {
		return Info{}, err
	}
	defer os.Remove(temp)
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := os.Lchown(temp, int(s.Uid), int(s.Gid)); err != nil {
			return Info{}, fmt.Errorf("keep the owner of the key file: %w", err)
		}
	}
	if err := os.Rename(temp, path); err != nil {
		return Info{}, fmt.Errorf("replace the key file: %w", err)
	}
	return infoOf(handle), syncDir(path)
}

// beside writes a new file in the directory of another, whole and on the disk.
func beside(path string, data []byte, mode fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("write the key file: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(fmt.Errorf("write the key file: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// lockDir keeps others from changing what is beside a file.
func lockDir(path string) (unlock func(), err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("lock the key file: %w", err)
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock the key file: %w", err)
	}
	return func() { dir.Close() }, nil
}

// syncDir makes a new name in a directory last.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("store the key file: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("store the key file: %w", err)
	}
	return nil
}
