set terminal svg size 480,340 dynamic noenhanced font 'sans-serif,14' background rgb 'white' name 'groups_lightgcn'
set output 'groups-lightgcn.svg.part'
set key tmargin left horizontal reverse Left width -4 samplen 1.5
set grid lc rgb '#dddddd'
$table << END
"group" "original" "augmented" "control.random" "control.popularity" "control.itemknn" "control.self" "control.ensemble"
"up to 27" 0.450948509 0.457723577 0.458401084 0.451897019 0.451355014 0.452439024 0.458807588
"28 to 53" 0.422828283 0.426767677 0.421789322 0.421284271 0.414170274 0.423448773 0.428903319
"54 to 120" 0.34698951 0.356618826 0.347661456 0.348014366 0.348328482 0.354329907 0.356042397
"over 120" 0.285338709 0.288270016 0.286166594 0.284994972 0.287761578 0.284660308 0.28539889
END
set yrange [0:]
set title 'lightgcn'
set style data histograms
set style fill solid 0.8 noborder
set xlabel 'train interactions of the user'
set ylabel 'recall@20'
plot for [i=2:8] $table using i:xtic(1) title columnheader(i)
