set terminal svg size 720,336 dynamic noenhanced font 'sans-serif,13' background rgb 'white' name 'arms_lightgcn'
set output 'arms-lightgcn.svg.part'
set key outside right top samplen 1.5
set grid lc rgb '#dddddd'
unset key
set title 'lightgcn'
set xlabel 'ndcg@20 on test'
set yrange [5.5:-0.5]
set ytics ('original' 0, 'augmented' 1, 'control.random' 2, 'control.popularity' 3, 'control.itemknn' 4, 'control.self' 5)
plot '-' using 1:2:3 with xerrorbars pt 7 ps 0.8 lw 1.5 lc rgb '#1f5fa8'
0.328836725 0 0.00237327449
0.333020528 1 0.0029506329
0.329869159 2 0.00269349605
0.328273585 3 0.00331694645
0.32656945 4 0.00284949635
0.330607479 5 0.00198184624
e
