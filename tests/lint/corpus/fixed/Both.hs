module Main (main) where
import System.Environment (lookupEnv)
{- splitOn "." peer would be wrong -}
main :: IO ()
main = do
  peer <- lookupEnv "TCPREMOTEIP"
  maybe (fail "no peer") putStrLn peer
