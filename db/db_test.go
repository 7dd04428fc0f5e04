package db_test

import "github.com/synthesizer-dev/synthesizer/db"

func configFor(url string) db.Config { return db.Config{URL: url, MaxConns: 4} }
