module Main (main) where

import Data.List (isPrefixOf)
import Data.List.Split (splitOn)
import Data.Maybe (fromMaybe)
import System.Environment (lookupEnv)

main :: IO ()
main = do
  peer <- fromMaybe "127.0.0.1" <$> lookupEnv "TCPREMOTEIP" -- expect: sentinel-fallback


  let octets = splitOn "." peer -- expect: dot-split


  if "10." `isPrefixOf` peer then print octets else pure () -- expect: prefix-string-match


  if peer == "127.0.0.1" then pure () else print peer -- expect: string-equality-allowlist
